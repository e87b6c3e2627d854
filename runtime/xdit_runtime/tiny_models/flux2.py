"""A FLUX.2 dev of 2 MB: Mistral 3 reads the prompt, guidance is an input of the model."""

from typing import Any

from xdit_runtime.tiny_models import language, parts


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The Flux2Pipeline. 4 heads; 2 + 4 layers. It reads layers 10, 20 and 30 of its text encoder, so that has 30."""
    from diffusers import Flux2Pipeline

    models = {"transformer": transformer(text=3 * 16, guidance=True), "text_encoder": language.mistral(30, 16), "vae": vae()}
    return parts.assemble(Flux2Pipeline, seed, GAIN, models, scheduler=scheduler(), tokenizer=language.pixtral_tokenizer())


GAIN = parts.gains("proj_out.weight", ("context_embedder",), quiet=0.5)


def scheduler() -> Any:  # noqa: ANN401
    """Its schedule shifts with the size of the picture."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)


def transformer(*, text: int, guidance: bool) -> Any:  # noqa: ANN401
    """A Flux2Transformer2DModel for embeddings `text` wide."""
    from diffusers import Flux2Transformer2DModel

    return parts.keen(
        Flux2Transformer2DModel(
            in_channels=16,
            num_layers=2,
            num_single_layers=4,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=text,
            timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=guidance,
        )
    )


def vae() -> Any:  # noqa: ANN401
    """A VAE that halves three times."""
    from diffusers import AutoencoderKLFlux2

    return AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        sample_size=64,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
