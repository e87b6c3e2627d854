"""Which parallel degrees a replica uses."""

from xdit_api.catalogue import ModelFacts
from xdit_api.job import Degrees
from xdit_api.spec import Parallelism, Spec

_DEGREES = ("data", "cfg", "ulysses", "ring", "pipefusion")


def choose(spec: Spec, facts: ModelFacts | None) -> tuple[Degrees, tuple[str, ...]] | str:
    """Degrees with the reasons for them, or a sentence why there are none.

    facts: what is known of the model; None for a model outside of the catalogue.
    """
    asked = spec.parallelism or Parallelism()
    given = {name: getattr(asked, name) for name in _DEGREES if getattr(asked, name) is not None}
    extra = {"pipefusion_patches": asked.pipefusion_patches, "warmup_steps": asked.warmup_steps or 1}
    if given:
        lanes = given.pop("data", 1)
        degrees = Degrees(lanes=lanes, **given, **extra)
        if degrees.world_size * lanes != spec.gpus:
            return f"the product of the parallel degrees is {degrees.world_size * lanes}, but spec.gpus is {spec.gpus}"
        return degrees, ("spec.parallelism says so",)
    if spec.gpus == 1:
        return Degrees(**extra), ("one GPU: nothing to split",)
    if facts is None:
        return (
            f"model {spec.model.id} is not in the catalogue, so its attention heads are not known here: set spec.parallelism, "
            f"for example ulysses: {spec.gpus}, or spec.gpus to 1 and use replicas"
        )
    ulysses = max(d for d in range(1, spec.gpus + 1) if spec.gpus % d == 0 and facts.heads % d == 0)
    ring = spec.gpus // ulysses
    why = f"ulysses {ulysses} is the largest degree that divides {spec.gpus} GPUs and the {facts.heads} attention heads"
    reasons = (why,) if ring == 1 else (why, f"ring {ring} takes the rest")
    return Degrees(ulysses=ulysses, ring=ring, **extra), reasons
