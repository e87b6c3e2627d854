"""Readers of pictures and text for language models with eyes, without torchvision.

transformers wants torchvision for the halves of these classes that no pipeline of ours uses: videos, and pictures for FLUX.2's
text encoder. Pictures are always resized by Pillow, so that they do not depend on what an image has installed.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor, AutoTokenizer, Qwen2VLProcessor


class QwenReader(Qwen2VLProcessor):  # type: ignore[misc]
    """Qwen2VLProcessor without videos."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:  # noqa: ANN401
        super().__init__(image_processor=image_processor, tokenizer=tokenizer, chat_template=chat_template)

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts that it is made of."""
        return ["image_processor", "tokenizer"]


# a model that is saved with it names the class that everyone has
QwenReader.__name__, QwenReader.__module__ = Qwen2VLProcessor.__name__, Qwen2VLProcessor.__module__


def _qwen(directory: Path) -> QwenReader:
    return QwenReader(
        image_processor=AutoImageProcessor.from_pretrained(directory, local_files_only=True, backend="pil"),
        tokenizer=AutoTokenizer.from_pretrained(directory, local_files_only=True),
    )


def _pixtral(directory: Path) -> Any:  # noqa: ANN401
    """Its tokenizer alone, which fills the chat template as the whole does when there is only text."""
    from transformers import TokenizersBackend

    return TokenizersBackend.from_pretrained(directory, local_files_only=True)


READERS: Mapping[str, Callable[[Path], Any]] = {
    "Qwen2VLProcessor": _qwen,
    "Qwen2_5_VLProcessor": _qwen,
    "PixtralProcessor": _pixtral,
}
"""Class that model_index.json names → how its directory is read. Raise OSError or ValueError when it cannot be."""
