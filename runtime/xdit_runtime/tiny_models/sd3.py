"""A Stable Diffusion 3 of a few MB: three text encoders, joint attention, 16-channel latents."""

from typing import Any

from xdit_runtime.tiny_models import parts


def build(seed: int, *, dual_attention: tuple[int, ...] = ()) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The StableDiffusion3Pipeline. 4 heads; 4 layers, of which those of `dual_attention` look at the picture twice."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    models = {
        "transformer": SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=4,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=64,
            caption_projection_dim=32,
            pooled_projection_dim=64,
            pos_embed_max_size=96,
            qk_norm="rms_norm",
            dual_attention_layers=dual_attention,
        ),
        "text_encoder": parts.clip(projection=True),
        "text_encoder_2": parts.clip(projection=True),
        "text_encoder_3": parts.t5(64),
        "vae": parts.vae(shift_factor=0.0609, scaling_factor=1.5305),
    }
    return parts.assemble(
        StableDiffusion3Pipeline,
        seed,
        parts.gains("proj_out.weight", ("context_embedder", "time_text_embed.text_embedder"), loud=1.5),
        models,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        tokenizer=parts.tokenizer(77),
        tokenizer_2=parts.tokenizer(77),
        tokenizer_3=parts.tokenizer(256),
    )
