"""A Sana of a few MB: Gemma, linear attention, a deep-compression autoencoder that halves five times."""

from typing import Any

from xdit_runtime.tiny_models import parts


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The SanaPipeline. 4 heads; 4 layers."""
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel

    models = {
        "transformer": SanaTransformer2DModel(
            sample_size=8,
            patch_size=1,
            in_channels=8,
            out_channels=8,
            num_layers=4,
            num_attention_heads=4,
            attention_head_dim=8,
            num_cross_attention_heads=4,
            cross_attention_head_dim=8,
            cross_attention_dim=32,
            caption_channels=32,
        ),
        "text_encoder": parts.gemma(),
        "vae": AutoencoderDC(
            latent_channels=8,
            attention_head_dim=8,
            encoder_block_types=("ResBlock",) * 6,
            decoder_block_types=("ResBlock",) * 6,
            encoder_block_out_channels=(8,) * 6,
            decoder_block_out_channels=(8,) * 6,
            encoder_layers_per_block=(1,) * 6,
            decoder_layers_per_block=(1,) * 6,
            encoder_qkv_multiscales=((),) * 6,
            decoder_qkv_multiscales=((),) * 6,
            scaling_factor=0.41407,
        ),
    }
    return parts.assemble(
        SanaPipeline,
        seed,
        parts.gains("proj_out.weight", ("caption_projection",), quiet=0.3, loud=2.0),
        models,
        scheduler=DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
        tokenizer=parts.tokenizer(300),
    )
