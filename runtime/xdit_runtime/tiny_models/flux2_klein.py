"""A FLUX.2 klein base of 2 MB: Qwen3 reads the prompt, guidance needs an unconditional half."""

from typing import Any

from xdit_runtime.tiny_models import flux2, language, parts


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The Flux2KleinPipeline, not distilled. It reads layers 9, 18 and 27 of its text encoder."""
    from diffusers import Flux2KleinPipeline

    models = {
        "transformer": flux2.transformer(text=3 * 16, guidance=False),
        "text_encoder": language.qwen3(27, causal=True, width=16),
        "vae": flux2.vae(),
    }
    return parts.assemble(
        Flux2KleinPipeline,
        seed,
        flux2.GAIN,
        models,
        scheduler=flux2.scheduler(),
        tokenizer=language.qwen_tokenizer(),
        is_distilled=False,
    )
