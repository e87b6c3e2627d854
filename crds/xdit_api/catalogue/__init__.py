"""Which model can be split in which way. Pure and torch-free: the planner and the worker's preflight ask the same question.

Facts of families are in families.py, of known models in models.json; facts of a model directory come from its own
configuration files. Rules and their sources: docs/parallelism.md.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from xdit_api.base import Json
from xdit_api.catalogue.families import FAMILIES, PATCHED_SCHEDULERS, PIPELINES, UNSHARED_SCHEDULERS, FamilyFacts
from xdit_api.job import Degrees

__all__ = ["FAMILIES", "PIPELINES", "ModelFacts", "from_configs", "legal", "lookup"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What planning needs to know of a model."""

    family: str
    heads: int
    """Attention heads of the transformer; 1 for a UNet."""
    layers: int | None = None
    """Layers that PipeFusion shares out; None: not known."""
    kv_heads: int | None = None
    """Attention heads of keys and values where they are fewer."""
    scheduler: str | None = None
    """Its class in diffusers; None: not known."""

    @property
    def common(self) -> FamilyFacts:
        """What is true of the whole family."""
        return FAMILIES[self.family]

    @property
    def modes(self) -> tuple[str, ...]:
        """Degrees of xdit_api.job.Degrees that may be more than 1."""
        return self.common.modes


def lookup(model_id: str) -> ModelFacts | None:
    """Facts of a catalogued model; None for one that is not known (the worker's preflight will look into its files)."""
    entry = json.loads(files(__package__).joinpath("models.json").read_text()).get(model_id)
    return None if entry is None else ModelFacts(**entry)


def from_configs(model_index: Json, transformer: Json) -> ModelFacts | str:
    """Facts from model_index.json and the transformer's (or UNet's) config.json, or a sentence why the model cannot be run."""
    pipeline = str(model_index.get("_class_name", ""))
    family = PIPELINES.get(pipeline)
    if family is None:
        known = ", ".join(sorted(PIPELINES))
        return f"model_index.json names the pipeline '{pipeline}', which this version cannot run; it runs {known}"
    scheduler = model_index.get("scheduler")
    named = str(scheduler[1]) if isinstance(scheduler, list) and len(scheduler) == 2 else None
    if "transformer" not in model_index and "unet" in model_index:
        return ModelFacts(family, 1, scheduler=named)
    heads = _count(transformer, "num_attention_heads") or _count(transformer, "n_heads")
    if heads is None:
        return "transformer/config.json has no num_attention_heads"
    layers = _count(transformer, "num_layers")
    if layers is not None:
        layers += _count(transformer, "num_single_layers") or 0
    return ModelFacts(family, heads, layers, _count(transformer, "num_kv_heads"), named)


def legal(facts: ModelFacts, degrees: Degrees, sizes: Iterable[tuple[int, int]]) -> list[str]:
    """Why these degrees cannot work, each with what would; an empty list when they can.

    sizes: (width, height) in pixels of the images that are known.
    """
    return [
        *_modes(facts, degrees),
        *_heads(facts, degrees),
        *_pipefusion(facts, degrees),
        *_scheduler(facts, degrees),
        *_sizes(facts, degrees, sizes),
    ]


def _count(config: Json, name: str) -> int | None:
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _modes(facts: ModelFacts, degrees: Degrees) -> list[str]:
    reasons = []
    for mode in ("cfg", "ulysses", "ring", "pipefusion"):
        degree = getattr(degrees, mode)
        if degree > 1 and mode not in facts.modes:
            why = f" ({facts.common.why})" if facts.common.why else ""
            reasons.append(
                f"{mode} {degree} is not available for {facts.family} models{why}; set {mode} to 1 and use "
                f"{' or '.join((*facts.modes, 'more replicas'))}"
            )
    if degrees.cfg > 2:
        reasons.append(f"cfg {degrees.cfg} is not possible: guidance has two halves; use cfg 2")
    return reasons


def _heads(facts: ModelFacts, degrees: Degrees) -> list[str]:
    reasons: list[str] = []
    if facts.common.fills_heads:
        return reasons
    for heads, what in ((facts.heads, "attention heads"), (facts.kv_heads or facts.heads, "heads of keys and values")):
        if "ulysses" in facts.modes and not reasons and heads % degrees.ulysses:
            fits = ", ".join(str(n) for n in range(1, heads + 1) if facts.heads % n == heads % n == 0)
            rest = ", and ring for the rest" if "ring" in facts.modes else ""
            reasons.append(f"ulysses {degrees.ulysses} does not divide the {heads} {what}; use one of {fits}{rest}")
    return reasons


def _pipefusion(facts: ModelFacts, degrees: Degrees) -> list[str]:
    stages = degrees.pipefusion
    if stages == 1 or "pipefusion" not in facts.modes:
        return []
    reasons = []
    if degrees.warmup_steps < 1:
        reasons.append(
            "PipeFusion needs at least one synchronous step, else it starts from the previous picture; use warmupSteps 1"
        )
    if degrees.pipefusion_patches is not None and not 1 <= degrees.pipefusion_patches <= 8:
        reasons.append(f"pipefusionPatches {degrees.pipefusion_patches} is not from 1 to 8; use {min(stages, 8)}")
    if facts.layers is not None and not _stages(facts, stages):
        fits = [str(n) for n in range(2, 17) if _stages(facts, n)]
        instead = f"use pipefusion {' or '.join(fits)}" if fits else "set pipefusion to 1"
        rule = "an even number of equal stages" if facts.family == "hunyuandit" else "stages that all have a layer"
        reasons.append(f"pipefusion {stages} cannot share the {facts.layers} layers out: it takes {rule}; {instead}")
    return reasons


def _stages(facts: ModelFacts, stages: int) -> bool:
    """Whether the layers can be shared out; xfuser gives each stage ceil(layers / stages) until none is left."""
    assert facts.layers is not None
    if facts.family == "hunyuandit":
        # layers of the first half hand their output to those of the second, stage by stage
        return stages % 2 == 0 and facts.layers % stages == 0
    return -(-facts.layers // stages) * (stages - 1) < facts.layers


def _scheduler(facts: ModelFacts, degrees: Degrees) -> list[str]:
    name = facts.scheduler
    if name is None:
        return []
    if degrees.pipefusion > 1 and name not in PATCHED_SCHEDULERS:
        return [f"pipefusion cannot use the model's {name}; it can use {', '.join(PATCHED_SCHEDULERS)}; or set pipefusion to 1"]
    if degrees.ulysses * degrees.ring > 1 and name in UNSHARED_SCHEDULERS:
        return [f"ranks cannot share the noise of the model's {name}; set ulysses and ring to 1 and use more replicas"]
    return []


def _sizes(facts: ModelFacts, degrees: Degrees, sizes: Iterable[tuple[int, int]]) -> list[str]:
    reasons = []
    pixels = facts.common.pixels
    shards = degrees.ulysses * degrees.ring
    rows = pixels if facts.common.padded else pixels * shards
    for width, height in sorted(set(sizes)):
        size = f"({width}x{height})"
        if width % pixels:
            reasons.append(
                f"width {width} {size} must be a multiple of {pixels} for {facts.family} models, for example {_near(width, pixels)}"
            )
        if height % pixels:
            reasons.append(
                f"height {height} {size} must be a multiple of {pixels} for {facts.family} models, for example {_near(height, rows)}"
            )
        elif height % rows:
            reasons.append(
                f"height {height} {size} cannot be split over {shards} ranks (ulysses {degrees.ulysses} x ring "
                f"{degrees.ring}): it must be a multiple of {rows}, for example {_near(height, rows)}"
            )
    return reasons


def _near(pixels: int, divisor: int) -> int:
    return max(divisor, round(pixels / divisor) * divisor)
