"""Frozen prompts: a JSONL file with every default filled in, and a table that finds lines without reading them."""

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xdit_api.prompts import Problem, Prompt
from xdit_runtime.prompts.coding import decode, decode_left_out, is_left_out
from xdit_runtime.prompts.table import ROW, Table, id_hash, last_row, row, whole
from xdit_runtime.volume import guarded


class Shape(NamedTuple):
    """Images that a compiled model draws alike."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    steps: int
    images: int
    """How many there are."""


def table_of(path: Path) -> Table:
    """Read a frozen file once and make its table. Raises OutputVolumeError."""
    rows = bytearray()
    offset = index = 0
    with guarded(path), path.open("rb") as lines:
        for line in lines:
            if is_left_out(line):
                break
            rows += row(decode(line, index), offset)
            offset += len(line)
            index += 1
    rows += last_row(index, offset)
    return np.frombuffer(rows, dtype=ROW)


def read_table(path: Path, lines: Path) -> Table:
    """The table in a file, made again when the file is missing, cut or of another version. Raises OutputVolumeError.

    lines: the frozen file.
    """
    with guarded(path):
        try:
            size = path.stat().st_size
            table = np.fromfile(path, dtype=ROW) if size % ROW.itemsize == 0 else np.empty(0, ROW)
        except FileNotFoundError:
            table = np.empty(0, ROW)
    with guarded(lines):
        return table if whole(table, lines.stat().st_size) else table_of(lines)


class FrozenPrompts:
    """The prompts of one resource, by position or id. Safe to use from several threads."""

    def __init__(self, path: Path, table: Table) -> None:
        """table: of `table_of` or `read_table`."""
        with guarded(path):
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._path = path
        self._offset = table["offset"]
        self._table = table[:-1]
        order = np.argsort(self._table["hash"], kind="stable")
        self._sorted = self._table["hash"][order]
        self._order = order.astype(np.uint32)
        self.images: npt.NDArray[np.uint8] = self._table["images"]
        """Images of each prompt."""
        self.bucket: npt.NDArray[np.uint32] = _numbered(self._table["bucket"])
        """Equal for prompts that one batch may hold: same pixels, steps, guidance, strength, number of input images, LoRAs."""
        self.total = int(self.images.sum(dtype=np.int64))
        """Images of all prompts."""

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Prompt:
        """The prompt at a position. Raises OutputVolumeError."""
        start, end = int(self._offset[index]), int(self._offset[index + 1])
        with guarded(self._path):
            return decode(os.pread(self._handle, end - start, start), index)

    def find(self, ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Positions of ids; -1 for those of other resources."""
        hashes = np.fromiter((id_hash(i) for i in ids), dtype=np.uint64)
        if not len(self) or not len(hashes):
            return np.full(len(hashes), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._sorted, hashes), len(self) - 1)
        return np.where(self._sorted[at] == hashes, self._order[at].astype(np.int64), -1)

    def sizes(self) -> list[tuple[int, int]]:
        """All different (width, height)."""
        pixels = np.unique(self._pixels())
        return [(int(p) >> 16, int(p) & 0xFFFF) for p in pixels]

    def shapes(self) -> list[Shape]:
        """All different (width, height, steps), those with the most images first."""
        keys, place = np.unique(self._pixels().astype(np.uint64) << 16 | self._table["steps"], return_inverse=True)
        images = np.bincount(place, weights=self.images, minlength=len(keys)).astype(np.int64)
        found = [Shape(int(k) >> 32, (int(k) >> 16) & 0xFFFF, int(k) & 0xFFFF, int(n)) for k, n in zip(keys, images, strict=True)]
        return sorted(found, key=lambda s: (-s.images, s))

    def first_lines(self, sizes: Collection[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """The first line of the user's file that asks for each (width, height); a size that nobody asks for is absent."""
        pixels = self._pixels()
        out: dict[tuple[int, int], int] = {}
        for width, height in sizes:
            at = np.flatnonzero(pixels == (width << 16 | height))
            if len(at):
                out[width, height] = int(self._table["line"][at].min())
        return out

    def left_out(self) -> Iterator[Problem]:
        """Lines of the user's file that policy Skip left out, in order. Raises OutputVolumeError."""
        with guarded(self._path), self._path.open("rb") as file:
            file.seek(int(self._offset[-1]))
            for line in file:
                yield decode_left_out(line)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def _pixels(self) -> npt.NDArray[np.uint32]:
        pixels: npt.NDArray[np.uint32] = self._table["width"].astype(np.uint32) << 16 | self._table["height"]
        return pixels


def _numbered(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    _, numbers = np.unique(hashes, return_inverse=True)
    return numbers.astype(np.uint32)
