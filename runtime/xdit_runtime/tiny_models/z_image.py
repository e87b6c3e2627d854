"""A Z-Image of 1 MB: Qwen3 reads the prompt, one stream of tokens."""

from typing import Any

from xdit_runtime.tiny_models import language, parts


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The ZImagePipeline. 6 heads, so that Ulysses 4 has to fill up; 1 + 1 + 3 layers."""
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

    models = {
        "transformer": parts.keen(
            ZImageTransformer2DModel(
                in_channels=4,
                dim=96,
                n_layers=3,
                n_refiner_layers=1,
                n_heads=6,
                n_kv_heads=6,
                cap_feat_dim=32,
                axes_dims=[4, 6, 6],
                axes_lens=[1024, 512, 512],
            )
        ),
        "text_encoder": language.qwen3(2, causal=False),
        "vae": parts.vae(shift_factor=0.1159, scaling_factor=0.3611),
    }
    return parts.assemble(
        ZImagePipeline,
        seed,
        parts.gains("all_final_layer.2-1.linear.weight", ("cap_embedder",), quiet=0.2),
        models,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        tokenizer=language.qwen_tokenizer(),
    )
