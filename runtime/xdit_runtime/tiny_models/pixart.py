"""A PixArt-Sigma of a few MB: T5, cross attention, learned variance. PixArt-Alpha is told the picture's size, too."""

from typing import Any

from xdit_runtime.tiny_models import parts


def build(seed: int, *, alpha: bool = False) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The PixArtSigmaPipeline, or the PixArtAlphaPipeline. 4 heads; 4 layers."""
    from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel

    head = 12 if alpha else 8  # Alpha embeds width, height and their ratio in a third of the width each
    models = {
        "transformer": PixArtTransformer2DModel(
            sample_size=128 if alpha else 16,
            patch_size=2,
            in_channels=4,
            out_channels=8,
            num_layers=4,
            attention_head_dim=head,
            num_attention_heads=4,
            caption_channels=32,
            cross_attention_dim=4 * head,
            use_additional_conditions=alpha,
        ),
        "text_encoder": parts.t5(),
        "vae": parts.vae(quantised=True, scaling_factor=0.13025),
    }
    return parts.assemble(
        PixArtAlphaPipeline if alpha else PixArtSigmaPipeline,
        seed,
        parts.gains("proj_out.weight", ("caption_projection",), quiet=0.1, loud=2.0),
        models,
        # Alpha's adds noise in every step, which ranks must share
        scheduler=DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++" if alpha else "dpmsolver++"),
        tokenizer=parts.tokenizer(300),
    )
