"""What is decided once for a job because it changes pictures a little, or costs time before it saves some.

The first lane decides; all lanes and all later attempts do as it said. Pure: asks for nothing but values. Figures: docs/benchmarks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_runtime.prompts.frozen import Shape

MOST_SHAPES = 6
"""Shapes that are compiled and captured; torch gives up on a function after a number of them."""
_COMPILE_SECONDS = 25.0
"""Compiling and capturing one shape: 9 to 13 s for the transformer, 13 s for the VAE, 1.5 s for the graph (H200)."""
_WORTH = 2.0
"""The gain must be this many times the cost: estimates err, and lanes die."""
_SAVED = 0.25
"""Part of the eager time that compiling saves: 3.67 s against 4.9 s on one H200."""
_ANCHOR = 4.9 / (12e9 * 2**20 * 28)
"""Eager seconds for one parameter, pixel and step: FLUX.1-dev with 12 billion parameters, 1024 x 1024, 28 steps, one H200."""
_CAPTURE_IMAGES = 4
"""Fewer pictures of a shape are not worth the capture of its graph."""
_BATCH_PIXELS = 512 * 512
"""Larger pictures are drawn one by one."""
_MOST_AT_ONCE = 8
_ENOUGH_WORK = 12e9 * 1024
"""Parameters x image tokens with which a GPU is busy: FLUX.1-dev gains 4 % from a batch of 8 at 512 x 512 (H200, 1.08 s against
1.035), models with fewer parameters or tokens more.
"""
_TOKEN_PIXELS = 16 * 16

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """A job's decisions."""

    compiled: frozenset[Size] = frozenset()
    """Sizes for which the transformer and the VAE are compiled; all others run eagerly."""
    captured: frozenset[Size] = frozenset()
    """Sizes for which a step becomes a CUDA graph. Changes no picture."""
    batches: tuple[tuple[int, int, int], ...] = ()
    """(width, height, pictures drawn at once) of the sizes for which that is more than 1."""
    capability: tuple[int, int] = (0, 0)
    """Of the GPU for which attention was chosen; (0, 0) for a CPU."""

    def batch(self, width: int, height: int) -> int:
        """Pictures of that size that are drawn at once."""
        return next((count for w, h, count in self.batches if (w, h) == (width, height)), 1)

    def dump(self) -> Json:
        """As `of` takes it."""
        return {
            "compiled": sorted(map(list, self.compiled)),
            "captured": sorted(map(list, self.captured)),
            "batches": [list(row) for row in self.batches],
            "capability": list(self.capability),
        }

    @classmethod
    def of(cls, decided: Json) -> "Tuning":
        """From `dump`."""
        major, minor = decided["capability"]
        return cls(
            compiled=frozenset((w, h) for w, h in decided["compiled"]),
            captured=frozenset((w, h) for w, h in decided["captured"]),
            batches=tuple((width, height, count) for width, height, count in decided["batches"]),
            capability=(major, minor),
        )


def decide(job: Job, shapes: Sequence[Shape], *, parameters: float, capability: tuple[int, int]) -> Tuning:
    """The decisions for a job.

    shapes: its pictures. parameters: numbers in its transformer. capability: compute capability of the GPU, (0, 0) on a CPU.
    """
    images: dict[Size, int] = {}
    for shape in shapes:
        size = (shape.width, shape.height)
        images[size] = images.get(size, 0) + shape.images
    most = sorted(images, key=lambda size: (-images[size], size))
    worth = {(s.width, s.height) for s in shapes if _gain(job, s, parameters) > _WORTH * _COMPILE_SECONDS}
    # what is left out or moved away between two steps cannot be compiled, and pictures of a batch change at different steps
    skips, moves = job.engine.cache != "None", job.engine.offload == "Model"
    wanted: Literal["Auto", "Always", "Never"] = "Never" if skips or moves else job.engine.compile
    compiled = [size for size in most if wanted == "Always" or (wanted == "Auto" and job.device == "cuda" and size in worth)]
    captured = [size for size in most if job.device == "cuda" and images[size] >= _CAPTURE_IMAGES]
    return Tuning(
        compiled=frozenset(compiled[:MOST_SHAPES]),
        captured=frozenset(captured[:MOST_SHAPES]),
        # on a CPU pictures of a batch take as long as one after the other
        batches=_batches(job, images, parameters) if job.device == "cuda" and not skips else (),
        capability=capability,
    )


def _batches(job: Job, images: dict[Size, int], parameters: float) -> tuple[tuple[int, int, int], ...]:
    """As Tuning.batches: as many as keep each GPU of a lane as busy as a large picture."""
    found = []
    for (width, height), number in sorted(images.items()):
        work = parameters * width * height / _TOKEN_PIXELS / job.degrees.world_size
        count = min(_MOST_AT_ONCE, number, int(_ENOUGH_WORK / max(work, 1)))
        if width * height <= _BATCH_PIXELS and count > 1:
            found.append((width, height, count))
    return tuple(found)


def _gain(job: Job, shape: Shape, parameters: float) -> float:
    """Seconds that compiling one shape saves a lane, on GPUs as fast as an H200; slower ones gain more."""
    ranks, lanes = job.degrees.world_size, job.degrees.lanes
    eager = _ANCHOR * parameters * shape.width * shape.height * shape.steps / ranks
    return eager * _SAVED * shape.images / lanes
