"""A Qwen-Image-Edit-2511 of 1 MB: several input pictures, whose tokens are told apart from the new ones by their time."""

from typing import Any

from xdit_runtime.tiny_models import language, parts, qwen_image


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The QwenImageEditPlusPipeline. A token is 64 pixels wide: the pipeline makes its inputs one megapixel large."""
    from diffusers import QwenImageEditPlusPipeline

    return parts.assemble(
        QwenImageEditPlusPipeline,
        seed,
        qwen_image.gain,
        qwen_image.models(5, 4, 0, zero_cond_t=True),
        scheduler=qwen_image.scheduler(),
        tokenizer=language.qwen_tokenizer(),
        processor=language.qwen_processor(),
    )
