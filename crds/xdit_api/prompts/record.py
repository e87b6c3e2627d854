"""One prompt with every default filled in, and what follows from it alone: names and seeds of its images."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt with every default filled in."""

    index: int
    """Position among the good prompts of the file, from 0."""
    id: str
    prompt: str
    negative_prompt: str
    seed: int | None
    """The line's own seed; None means derived (see `image_seed`)."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    steps: int
    guidance_scale: float
    images: int
    extra: str = "{}"
    """Unknown columns, as JSON."""
    inputs: tuple[str, ...] = ()
    """Input images (edit, img2img): as written where only the API is known, absolute and checked in the worker."""
    strength: float | None = None
    """How far an input image is changed, 0 < strength <= 1; None = the family's own way (edit models take none)."""
    loras: tuple[tuple[str, float], ...] | None = None
    """(name, scale) in the order written; None = every LoRA of the job at its own scale; () = none."""
    digests: tuple[str, ...] = ()
    """sha256 of the content of each of `inputs`, taken when the prompts were frozen."""
    line: int = 0
    """Line in the user's file, from 1."""


def image_seed(job_seed: int, prompt: Prompt, k: int) -> int:
    """Seed of image k (from 0) of a prompt: the line's seed + k, else the first 63 bits of sha256(job seed, id, k).

    Depends on nothing else, so that order, lanes, resume and hardware change no picture.
    """
    if prompt.seed is not None:
        return prompt.seed + k
    digest = hashlib.sha256(f"{job_seed}/{prompt.id}/{k}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def image_names(prompt: Prompt) -> list[str]:
    """File names without ending: the id, or id.0, id.1, … when there are several images."""
    return [prompt.id] if prompt.images == 1 else [f"{prompt.id}.{k}" for k in range(prompt.images)]
