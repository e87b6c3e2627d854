"""What is done: an image is done when its file has its final name."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from xdit_runtime.paths import Layout
from xdit_runtime.prompts import FrozenPrompts
from xdit_runtime.volume import guarded

Bits = npt.NDArray[np.uint64]
"""One number a prompt; bit k is set when image k exists. A prompt has at most 64 images."""


def finished_names(layout: Layout) -> Iterator[str]:
    """Names of all images in the directory, of this resource or others. Raises OutputVolumeError."""
    with guarded(layout.images):
        for path in layout.images.iterdir():
            name = layout.image_name(path.name)
            if name is not None:
                yield name


def wanted(prompts: FrozenPrompts) -> Bits:
    """The bits of a finished job."""
    return np.array([(1 << int(n)) - 1 for n in prompts.images], dtype=np.uint64)


def finished(layout: Layout, prompts: FrozenPrompts) -> Bits:
    """List the images once. Raises OutputVolumeError."""
    bits = np.zeros(len(prompts), dtype=np.uint64)
    stems: list[str] = []
    numbers: list[int] = []
    for name in finished_names(layout):
        stem, dot, k = name.partition(".")
        if not dot or (k.isdecimal() and int(k) < 64):
            stems.append(stem)
            numbers.append(int(k) if dot else -1)
    for position, number in zip(prompts.find(stems), numbers, strict=True):
        if position < 0:
            continue
        # an image of an earlier resource may have the other form of name: then it is not the one that is wanted
        images = int(prompts.images[position])
        if (images == 1 and number == -1) or (images > 1 and 0 <= number < images):
            bits[position] |= np.uint64(1 << max(number, 0))
    return bits


def count(bits: Bits) -> int:
    """Images."""
    return int(np.unpackbits(bits.view(np.uint8)).sum(dtype=np.int64))
