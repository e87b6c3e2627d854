"""The table of frozen prompts: 35 bytes a prompt, which find a line and answer what is asked of all lines.

Its last row is no prompt: it says where the prompts end, and that the table is whole and of this version.
"""

import hashlib
import struct
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from xdit_api.prompts import Prompt

ROW = np.dtype(
    [
        ("offset", "<u8"),
        ("hash", "<u8"),
        ("bucket", "<u8"),
        ("line", "<u4"),
        ("width", "<u2"),
        ("height", "<u2"),
        ("steps", "<u2"),
        ("images", "u1"),
    ]
)
"""One prompt: byte offset of its line, hash of its id, hash of what one batch must have in common, line in the user's
file, pixels, steps, number of images."""
Table = npt.NDArray[np.void]
_PACK = struct.Struct("<QQQIHHHB").pack
_LAST = int.from_bytes(b"xdit-tab", "little")
assert struct.calcsize("<QQQIHHHB") == ROW.itemsize


def id_hash(prompt_id: str) -> int:
    """64 bits; ids that differ only in case are equal."""
    return int.from_bytes(hashlib.blake2b(prompt_id.lower().encode(), digest_size=8).digest(), "little")


def row(prompt: Prompt, offset: int) -> bytes:
    """The row of a prompt whose line begins at a byte."""
    p = prompt
    bucket = _bucket_hash(p.width, p.height, p.steps, p.guidance_scale, p.strength, len(p.inputs), p.loras)
    return _PACK(offset, id_hash(p.id), bucket, p.line, p.width, p.height, p.steps, p.images)


def last_row(prompts: int, end: int) -> bytes:
    """The row after the last prompt. end: byte after its line."""
    return _PACK(end, _LAST, prompts, 0, 0, 0, 0, 0)


def whole(table: Table, size: int) -> bool:
    """Whether the table is finished and may belong to a file of so many bytes."""
    if not len(table):
        return False
    last = table[-1]
    return bool(last["hash"] == _LAST and last["images"] == 0 and last["bucket"] == len(table) - 1 and last["offset"] <= size)


@lru_cache(4096)
def _bucket_hash(*shape: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(shape).encode(), digest_size=8).digest(), "little")
