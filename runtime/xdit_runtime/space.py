"""Whether the output volume has room for what is left to make. Estimated: an image compresses as well as it likes."""

import os
from collections.abc import Iterable
from pathlib import Path

from xdit_api.job import Job
from xdit_api.report import Counts
from xdit_runtime.prompts import Shape
from xdit_runtime.volume import guarded

_BYTES_PER_PIXEL = {"png": 2.0, "webp": 0.5, "jpeg": 0.5}
_LEAST = 0.1
"""Part of the estimate below which it is clear that the volume will be full before the job is done."""


def free(path: Path) -> int | None:
    """Bytes that this user may still write; None on a file system that does not tell. Raises OutputVolumeError."""
    with guarded(path):
        found = os.statvfs(path)
    return found.f_bavail * found.f_frsize if found.f_blocks else None


def needed(job: Job, shapes: Iterable[Shape], counts: Counts) -> int:
    """Bytes of the images that are left, if the finished ones were of all shapes alike."""
    pixels = sum(shape.width * shape.height * shape.images for shape in shapes)
    left = 1 - counts.completed / counts.total if counts.total else 0.0
    return int(pixels * left * _BYTES_PER_PIXEL[job.output.format])


def verdict(need: int, free: int | None) -> tuple[bool, str] | None:
    """(whether to refuse, a sentence) when there may be too little room."""
    if free is None or free >= need:
        return None
    text = f"the images that are left need about {_size(need)}, the output volume has {_size(free)} free: enlarge the claim"
    return free < need * _LEAST, text


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
