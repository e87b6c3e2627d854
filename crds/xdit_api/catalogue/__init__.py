"""Which model can be split in which way. Pure and torch-free: the planner and the worker's preflight ask the same question.

Facts of known models are in models.json; facts of a model directory come from its own configuration files.
Rules and their sources: docs/parallelism.md.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from xdit_api.base import Json
from xdit_api.job import Degrees

PIPELINES = {"FluxPipeline": "flux"}
"""diffusers pipeline class → family that this version's engine can run."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What planning needs to know of a model."""

    family: str
    heads: int
    """Attention heads of the transformer."""
    modes: tuple[str, ...]
    """Degrees of xdit_api.job.Degrees that may be more than 1."""
    pixel_divisor: int = 16
    """Pixels of one token's side."""


def lookup(model_id: str) -> ModelFacts | None:
    """Facts of a catalogued model; None for one that is not known (the worker's preflight will look into its files)."""
    entry = json.loads(files(__package__).joinpath("models.json").read_text()).get(model_id)
    return None if entry is None else ModelFacts(entry["family"], entry["heads"], tuple(entry["modes"]))


def from_configs(model_index: Json, transformer: Json) -> ModelFacts | str:
    """Facts from model_index.json and transformer/config.json, or a sentence why the model cannot be run."""
    pipeline = str(model_index.get("_class_name", ""))
    family = PIPELINES.get(pipeline)
    if family is None:
        known = ", ".join(sorted(PIPELINES))
        return f"model_index.json names the pipeline '{pipeline}', which this version cannot run; it runs {known}"
    heads = transformer.get("num_attention_heads")
    if not isinstance(heads, int) or heads < 1:
        return "transformer/config.json has no num_attention_heads"
    return ModelFacts(family, heads, ("ulysses", "ring"))


def legal(facts: ModelFacts, degrees: Degrees, sizes: Iterable[tuple[int, int]]) -> list[str]:
    """Why these degrees cannot work, each with what would; an empty list when they can.

    sizes: (width, height) in pixels of the images that are known.
    """
    reasons = [
        f"{mode} {getattr(degrees, mode)} is not available for {facts.family} models in this version; set {mode} to 1 and "
        f"use {' or '.join(facts.modes)} or more replicas"
        for mode in ("cfg", "ulysses", "ring", "pipefusion")
        if getattr(degrees, mode) > 1 and mode not in facts.modes
    ]
    if facts.heads % degrees.ulysses:
        fits = ", ".join(str(n) for n in range(1, facts.heads + 1) if facts.heads % n == 0)
        reasons.append(
            f"ulysses {degrees.ulysses} does not divide the {facts.heads} attention heads; use one of {fits}, and ring for the rest"
        )
    shards = degrees.ulysses * degrees.ring
    rows = facts.pixel_divisor * shards
    for width, height in sorted(set(sizes)):
        if height % rows:
            nearest = max(rows, round(height / rows) * rows)
            reasons.append(
                f"height {height} ({width}x{height}) cannot be split over {shards} ranks (ulysses {degrees.ulysses} x ring "
                f"{degrees.ring}): it must be a multiple of {rows}, for example {nearest}"
            )
    return reasons
