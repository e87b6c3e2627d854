"""A FLUX.1 Kontext of 4 MB: FLUX.1 dev that also looks at a picture."""

from typing import Any

from xdit_runtime.tiny_models import parts


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The FluxKontextPipeline. 4 heads; 2 + 2 layers."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxKontextPipeline, FluxTransformer2DModel

    models = {
        "transformer": FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=[4, 4, 8],
            guidance_embeds=True,
        ),
        "text_encoder": parts.clip(),
        "text_encoder_2": parts.t5(),
        "vae": parts.vae(shift_factor=0.0609, scaling_factor=1.5035),
    }
    return parts.assemble(
        FluxKontextPipeline,
        seed,
        parts.gains("proj_out.weight", ("context_embedder", "time_text_embed.text_embedder"), quiet=0.3),
        models,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        tokenizer=parts.tokenizer(77),
        tokenizer_2=parts.tokenizer(512),
    )
