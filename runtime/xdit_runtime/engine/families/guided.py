"""What families with classifier-free guidance share: a second, unconditional half that follows the negative prompt."""

import torch

from xdit_runtime.engine.families.base import Embeddings

NEGATIVE = "negative_"


def given(names: tuple[str, ...], values: tuple[torch.Tensor | None, ...]) -> Embeddings:
    """What a pipeline's `encode_prompt` returned, by the names of the call's arguments; without guidance some are None."""
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def with_own_negative(embeddings: Embeddings) -> Embeddings:
    """The text in both halves: whatever the guidance scale, the result is that of the text alone, to the bit."""
    positive = {name: value for name, value in embeddings.items() if not name.startswith(NEGATIVE)}
    return positive | {NEGATIVE + name: value for name, value in positive.items()}
