"""A PixArt-Alpha of a few MB."""

from typing import Any

from xdit_runtime.tiny_models import pixart


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The PixArtAlphaPipeline. 4 heads; 4 layers."""
    return pixart.build(seed, alpha=True)
