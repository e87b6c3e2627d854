"""A Stable Diffusion XL of a few MB: two CLIP text encoders and a UNet."""

from typing import Any

from xdit_runtime.tiny_models import parts


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The StableDiffusionXLPipeline. The UNet halves twice."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    models = {
        "unet": UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 1, 2),
            projection_class_embeddings_input_dim=80,
            cross_attention_dim=64,
            norm_num_groups=4,
        ),
        "text_encoder": parts.clip(),
        "text_encoder_2": parts.clip(projection=True),
        "vae": parts.vae(quantised=True, scaling_factor=0.13025),
    }
    return parts.assemble(
        StableDiffusionXLPipeline,
        seed,
        parts.gains("conv_out.weight", ("add_embedding",), quiet=0.3, loud=2.0),
        models,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
        ),
        tokenizer=parts.tokenizer(77),
        tokenizer_2=parts.tokenizer(77),
        force_zeros_for_empty_prompt=True,
    )
