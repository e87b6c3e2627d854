"""Which settings of a job make other pictures than the model's exact ones. Every image says so."""

from xdit_api.base import Json
from xdit_api.job import Job


def lossy(job: Job, steps: int) -> Json:
    """The lossy settings of a picture of `steps` steps, by name; empty for an exact one.

    PipeFusion counts only with several patches and more steps than the synchronous first ones: otherwise nothing is stale.
    """
    engine, degrees = job.engine, job.degrees
    out: Json = {}
    if engine.cache != "None":
        out["cache"] = engine.cache
    if engine.quantization != "None":
        out["quantization"] = engine.quantization
    patches = degrees.pipefusion_patches or degrees.pipefusion
    if degrees.pipefusion > 1 and patches > 1 and steps > degrees.warmup_steps:
        out["pipefusion"] = {"stages": degrees.pipefusion, "patches": patches, "warmup_steps": degrees.warmup_steps}
    return out
