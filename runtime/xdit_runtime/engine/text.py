"""Text embeddings of recent prompts, kept in host memory: several pictures of one prompt encode it once."""

from collections import OrderedDict
from collections.abc import Callable

import torch

Embeddings = tuple[torch.Tensor, torch.Tensor]
"""T5's sequence (1 x tokens x width) and CLIP's pooled vector (1 x width)."""


class TextCache:
    """Least recently used prompts go first. Copies are bit-equal, so that a hit changes no picture."""

    def __init__(self, encode: Callable[[str], Embeddings], device: torch.device, limit: int = 256) -> None:
        self._encode = encode
        self._device = device
        self._limit = limit
        self._kept: OrderedDict[str, Embeddings] = OrderedDict()

    def get(self, prompt: str) -> Embeddings:
        """The embeddings, on the device."""
        found = self._kept.get(prompt)
        if found is not None:
            self._kept.move_to_end(prompt)
            return found[0].to(self._device), found[1].to(self._device)
        made = self._encode(prompt)
        self._kept[prompt] = (made[0].cpu(), made[1].cpu())
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return made
