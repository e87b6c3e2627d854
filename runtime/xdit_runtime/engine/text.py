"""Text embeddings of recent prompts, kept in host memory: several pictures of one prompt encode it once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch

Embeddings = dict[str, torch.Tensor]
"""Arguments of a pipeline's call by name, each for one picture."""


class TextCache:
    """Least recently used prompts go first. Copies are bit-equal, so that a hit changes no picture."""

    def __init__(self, device: torch.device, limit: int = 256) -> None:
        self._device = device
        self._limit = limit
        self._kept: OrderedDict[Hashable, Embeddings] = OrderedDict()

    def get(self, key: Hashable, encode: Callable[[], Embeddings]) -> Embeddings:
        """The embeddings of `key`, on the device; `encode` makes them when they are not there."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return {name: tensor.to(self._device, non_blocking=True) for name, tensor in found.items()}
        made = encode()
        self._kept[key] = {name: tensor.cpu() for name, tensor in made.items()}
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return made
