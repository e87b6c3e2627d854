"""What every engine does: load a model once, then turn requests into pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""Height x width x 3, RGB."""
OnStep = Callable[[int, int], None]
"""Called after each denoising step with the steps done and the steps in all."""
OnPart = Callable[[str], None]
"""Called with the name of each part of the model before it is loaded."""


class PlanError(ValueError):
    """Model, degrees, settings and sizes do not fit together; the message says what would. Ends the lane."""


class PromptError(ValueError):
    """One prompt cannot be drawn, others can; the message says why. Fails the prompt."""


@dataclass(frozen=True, slots=True)
class World:
    """The ranks of a lane and this one's place among them."""

    rank: int
    local_rank: int
    size: int
    device: Literal["cuda", "cpu"]
    timeout: timedelta
    """Longest wait for another rank."""


@dataclass(frozen=True, slots=True)
class Request:
    """One picture. Equal on all ranks of a lane."""

    prompt: str
    width: int
    height: int
    """Pixels."""
    steps: int
    guidance_scale: float
    seed: int
    negative_prompt: str = ""
    inputs: tuple[str, ...] = ()
    """Absolute paths of input images, in the order in which the prompt names them."""
    digests: tuple[str, ...] = ()
    """sha256 of the input images when the prompts were frozen; empty where it is not known."""
    strength: float | None = None
    """How much of the input image is drawn anew, above 0 and up to 1; None where no input is redrawn."""
    loras: tuple[tuple[str, float], ...] | None = None
    """(name, scale) of the LoRAs of this picture; None: all of the job at their own scales."""


class Engine(Protocol):
    """One loaded model on one rank. All ranks of a lane make the same calls in the same order."""

    def load(self, on_part: OnPart) -> None:
        """Read the weights and set up the parallel groups.

        Raises ValueError or OSError for a model directory that cannot be loaded, PlanError for degrees that do not fit.
        """

    def check(self, request: Request) -> None:
        """Raise PlanError or PromptError for a request that could not be run. Needs no other rank; called before `generate`."""

    def batch(self, request: Request) -> int:
        """How many pictures like this one are drawn at once; at least 1."""

    def generate(self, requests: Sequence[Request], on_step: OnStep) -> list[Image] | None:
        """The pictures in order on rank 0, None on the others. Requests are of one shape and at most `batch` of them."""

    def close(self) -> None:
        """Give the memory back."""
