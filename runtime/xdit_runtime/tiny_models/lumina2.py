"""A Lumina 2 of a few MB: Gemma, text and picture in one sequence, fewer heads for keys than for queries."""

from typing import Any

from xdit_runtime.tiny_models import parts


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The Lumina2Pipeline. 8 heads, 4 of keys and values; 2 layers after 1 of refinement each."""
    from diffusers import FlowMatchEulerDiscreteScheduler, Lumina2Pipeline, Lumina2Transformer2DModel

    models = {
        "transformer": Lumina2Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            hidden_size=64,
            num_layers=2,
            num_refiner_layers=1,
            num_attention_heads=8,
            num_kv_heads=4,
            multiple_of=16,
            axes_dim_rope=(4, 2, 2),
            axes_lens=(600, 64, 64),
            cap_feat_dim=32,
        ),
        "text_encoder": parts.gemma(),
        "vae": parts.vae(shift_factor=0.1159, scaling_factor=0.3611),
    }
    return parts.assemble(
        Lumina2Pipeline,
        seed,
        parts.gains("norm_out.linear_2.weight", ("time_caption_embed.caption_embedder",), quiet=0.3, loud=30.0),
        models,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0, use_dynamic_shifting=False),
        tokenizer=parts.tokenizer(512),
    )
