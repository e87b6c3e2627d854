"""Frozen prompts: a JSONL file with every default filled in, and a table that finds lines without reading them.

The table takes 23 bytes a prompt, in memory too.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xdit_api.prompts import Prompt
from xdit_runtime.volume import guarded

ROW = np.dtype([("offset", "<u8"), ("hash", "<u8"), ("width", "<u2"), ("height", "<u2"), ("steps", "<u2"), ("images", "u1")])
"""One prompt: byte offset of its line, hash of its id, pixels, steps, number of images."""


def encode(prompt: Prompt) -> bytes:
    """The line of a prompt."""
    return json.dumps(asdict(prompt)).encode() + b"\n"


def _decode(line: bytes) -> Prompt:
    fields = json.loads(line)
    loras = fields.pop("loras", None)
    return Prompt(
        **{
            **fields,
            "inputs": tuple(fields.get("inputs", ())),
            "digests": tuple(fields.get("digests", ())),
            "loras": None if loras is None else tuple((name, scale) for name, scale in loras),
        }
    )


def id_hash(prompt_id: str) -> int:
    """64 bits; ids that differ only in case are equal."""
    return int.from_bytes(hashlib.blake2b(prompt_id.lower().encode(), digest_size=8).digest(), "little")


def table_of(path: Path) -> npt.NDArray[np.void]:
    """Read a frozen file once and make its table. Raises OutputVolumeError."""
    rows: list[tuple[int, int, int, int, int, int]] = []
    offset = 0
    with guarded(path), path.open("rb") as lines:
        for line in lines:
            p = _decode(line)
            rows.append((offset, id_hash(p.id), p.width, p.height, p.steps, p.images))
            offset += len(line)
    return np.array(rows, dtype=ROW)


class FrozenPrompts:
    """The prompts of one resource, by position or id. Safe to use from several threads."""

    def __init__(self, path: Path, table: npt.NDArray[np.void]) -> None:
        with guarded(path):
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._end = os.fstat(self._handle).st_size
        self._path = path
        self._table = table
        self._order = np.argsort(table["hash"], kind="stable")
        self._sorted = table["hash"][self._order]
        self.images: npt.NDArray[np.uint8] = table["images"]
        """Images of each prompt."""
        self.total = int(self.images.sum(dtype=np.int64))
        """Images of all prompts."""

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Prompt:
        """The prompt at a position. Raises OutputVolumeError."""
        start = int(self._table["offset"][index])
        end = int(self._table["offset"][index + 1]) if index + 1 < len(self) else self._end
        with guarded(self._path):
            return _decode(os.pread(self._handle, end - start, start))

    def find(self, ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Positions of ids; -1 for those of other resources."""
        hashes = np.fromiter((id_hash(i) for i in ids), dtype=np.uint64)
        if not len(self) or not len(hashes):
            return np.full(len(hashes), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._sorted, hashes), len(self) - 1)
        return np.where(self._sorted[at] == hashes, self._order[at], -1)

    def sizes(self) -> list[tuple[int, int]]:
        """All different (width, height)."""
        return sorted({(int(w), int(h)) for w, h in np.unique(self._table[["width", "height"]])})

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)
