"""What is done: an image is done when its file has its final name."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xdit_runtime.paths import Layout, is_shard
from xdit_runtime.prompts import FrozenPrompts
from xdit_runtime.volume import guarded, listing

Bits = npt.NDArray[np.uint64]
"""One number a prompt; bit k is set when image k exists. A prompt has at most 64 images."""
_SETTLE_SECONDS = 2.0
"""Longest step of a file system's clock: a directory that was listed this long after its time was first seen is known."""


def _folders(layout: Layout, above: Path) -> list[Path]:
    return [above / name for name in listing(above) if is_shard(name)] if layout.sharded else [above]


def _names(layout: Layout, folder: Path) -> Iterator[str]:
    for file_name in listing(folder):
        name = layout.image_name(file_name)
        if name is not None:
            yield name


def finished_names(layout: Layout) -> Iterator[str]:
    """Names of all images in the directory, of this resource or others. Raises OutputVolumeError."""
    for folder in _folders(layout, layout.images):
        yield from _names(layout, folder)


def without_thumbnail(layout: Layout) -> Iterator[str]:
    """Names of images whose thumbnail was lost in a crash of a node. Raises OutputVolumeError."""
    there = {file_name.removesuffix(".jpg") for folder in _folders(layout, layout.thumbnails) for file_name in listing(folder)}
    return (name for name in finished_names(layout) if name not in there)


def wanted(prompts: FrozenPrompts) -> Bits:
    """The bits of a finished job."""
    images = prompts.images.astype(np.uint64)
    return np.where(images == 0, np.uint64(0), np.uint64(2**64 - 1) >> (np.uint64(64) - np.maximum(images, np.uint64(1))))


def count(bits: Bits) -> int:
    """Images."""
    return int(np.unpackbits(bits.view(np.uint8)).sum(dtype=np.int64))


def places(prompts: FrozenPrompts, names: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    """Each name with the position of its prompt and its k; position -1 for an image that the prompts do not ask for."""
    listed = list(names)
    split = [name.partition(".") for name in listed]
    for name, (_, dot, number), position in zip(listed, split, prompts.find(stem for stem, _, _ in split), strict=True):
        # an image of an earlier resource may have the other form of name: then it is not the one that is wanted
        k = -1 if not dot else int(number) if number.isdecimal() else 64
        images = int(prompts.images[position]) if position >= 0 else 0
        ours = (images == 1 and k == -1) or (images > 1 and 0 <= k < images)
        yield (name, int(position), max(k, 0)) if ours else (name, -1, 0)


@dataclass(frozen=True, slots=True)
class _Seen:
    time: int
    since: float
    """When this time was first seen."""
    known: bool
    """Listed long enough after that to hold everything that has this time."""


class Finished:
    """The images of a directory as one observer knows them; a directory that did not change is not listed again."""

    def __init__(self, layout: Layout, prompts: FrozenPrompts, clock: Callable[[], float] = time.monotonic) -> None:
        self._layout = layout
        self._prompts = prompts
        self._clock = clock
        self._seen: dict[Path, _Seen] = {}
        self.bits: Bits = np.zeros(len(prompts), dtype=np.uint64)
        """What is there. Whoever makes an image may set its bit."""
        self.others: set[str] = set()
        """Names of images that this resource's prompts do not ask for."""

    def look(self) -> None:
        """Find what is new. Raises OutputVolumeError."""
        for folder in _folders(self._layout, self._layout.images):
            if self._changed(folder):
                self._add(folder)

    def look_again(self) -> None:
        """List everything: what was removed is gone too. Raises OutputVolumeError."""
        self._seen.clear()
        self.others.clear()
        self.bits[:] = 0
        self.look()

    def _changed(self, folder: Path) -> bool:
        now = self._clock()
        with guarded(folder):
            time = folder.stat().st_mtime_ns
        last = self._seen.get(folder)
        if last is None or last.time != time:
            self._seen[folder] = _Seen(time, now, known=False)
            return True
        if last.known:
            return False
        self._seen[folder] = _Seen(time, last.since, known=now - last.since >= _SETTLE_SECONDS)
        return True

    def _add(self, folder: Path) -> None:
        for name, position, k in places(self._prompts, _names(self._layout, folder)):
            if position < 0:
                self.others.add(name)
            else:
                self.bits[position] |= np.uint64(1 << k)


def finished(layout: Layout, prompts: FrozenPrompts) -> Bits:
    """List the images once. Raises OutputVolumeError."""
    found = Finished(layout, prompts)
    found.look()
    return found.bits
