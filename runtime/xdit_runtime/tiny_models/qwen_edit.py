"""A Qwen-Image-Edit of 1 MB."""

from typing import Any

from xdit_runtime.tiny_models import language, parts, qwen_image


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The QwenImageEditPipeline. A token is 64 pixels wide: the pipeline makes its input one megapixel large."""
    from diffusers import QwenImageEditPipeline

    return parts.assemble(
        QwenImageEditPipeline,
        seed,
        qwen_image.gain,
        qwen_image.models(5, 4, 0),
        scheduler=qwen_image.scheduler(),
        tokenizer=language.qwen_tokenizer(),
        processor=language.qwen_processor(),
    )
