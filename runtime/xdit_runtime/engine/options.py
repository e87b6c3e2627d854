"""Which settings of a job this version's engines can honour. Pure and torch-free: preflight asks before anything is loaded."""

import importlib.util

from xdit_api.catalogue import ModelFacts
from xdit_api.job import Job

_FBCACHE = frozenset(
    {
        *("flux", "kontext", "flux2", "flux2_klein", "qwen_image", "qwen_edit", "qwen_edit_plus"),
        *("sd3", "pixart", "z_image"),
    }
)
"""Families whose blocks the step cache knows."""
_TEACACHE = frozenset({"flux"})
"""Families for which TeaCache's polynomial was fitted."""
_SHARED_CACHE = _FBCACHE - {"sd3", "pixart", "z_image"}
"""Families whose ranks agree on what to leave out: they compute the same call of the transformer, on parts of the tokens."""


def plain(job: Job) -> bool:
    """Whether a setting needs a transformer's modules as they are, so that nothing may compute past them."""
    engine = job.engine
    return engine.cache != "None" or engine.quantization != "None" or engine.offload == "Model" or bool(job.model.loras)


def unsupported(job: Job, facts: ModelFacts | None = None) -> list[str]:
    """One sentence for each setting that would be ignored or fail, with what to write instead; empty when all is well.

    facts: of the job's model; None where they are not known.
    """
    reasons = []
    apart = [f"{name} {getattr(job.degrees, name)}" for name in ("cfg", "pipefusion") if getattr(job.degrees, name) > 1]
    if job.engine.compile == "Always" and apart:
        reasons.append(f"engine.compile Always cannot compile what {' and '.join(apart)} take apart; use compile Auto or Never")
    reasons += [*_cache(job, facts), *_offload(job), *_quantization(job)]
    return [*reasons, *_attention(job)]


def _cache(job: Job, facts: ModelFacts | None) -> list[str]:
    cache, degrees = job.engine.cache, job.degrees
    if cache == "None":
        return []
    reasons = []
    family = None if facts is None else facts.family
    if family is not None and family not in _FBCACHE:
        reasons.append(f"engine.cache {cache} does not know the blocks of {family} models; use None")
    elif family is not None and cache == "TeaCache" and family not in _TEACACHE:
        reasons.append(f"engine.cache TeaCache is fitted to FLUX.1 and not to {family} models; use FBCache or None")
    apart = [f"{name} {getattr(degrees, name)}" for name in ("cfg", "pipefusion") if getattr(degrees, name) > 1]
    if job.engine.compile == "Always":
        reasons.append(f"engine.compile Always cannot compile what engine.cache {cache} may leave out; use compile Never or Auto")
    if apart or (degrees.world_size > 1 and family is not None and family not in _SHARED_CACHE):
        what = " and ".join(apart) or degrees.describe()
        reasons.append(
            f"engine.cache {cache} cannot work with {what}: ranks would leave out different parts of a picture; "
            "use parallelism.data for all GPUs, or cache None"
        )
    return reasons


def _offload(job: Job) -> list[str]:
    if job.engine.offload != "Model":
        return []
    reasons = []
    if job.degrees.world_size > 1:
        reasons.append(
            f"engine.offload Model is for pictures that one GPU draws, and {job.degrees.describe()} shares them; "
            "use TextEncoder, or parallelism.data for all GPUs"
        )
    if job.engine.compile == "Always":
        reasons.append("engine.compile Always cannot compile what engine.offload Model moves; use compile Never or Auto")
    if job.engine.quantization != "None":
        reasons.append("engine.offload Model cannot move a quantised model; use TextEncoder, or quantization None")
    if job.model.loras:
        reasons.append("engine.offload Model cannot load model.loras into a model that waits; use TextEncoder")
    return reasons


def _quantization(job: Job) -> list[str]:
    kind = job.engine.quantization
    if kind != "None" and importlib.util.find_spec("torchao") is None:
        return [f"engine.quantization {kind} needs the package torchao, which the CPU image has not; use the CUDA image, or None"]
    if kind != "FP8":
        return []
    if job.device == "cpu":
        return ["engine.quantization FP8 needs GPUs from Ada or Hopper on; use Int8 or None for CPU ranks"]
    if job.model.dtype != "bfloat16":
        return [f"engine.quantization FP8 works with dtype bfloat16 and not with {job.model.dtype}; use bfloat16, Int8 or None"]
    return []


def _attention(job: Job) -> list[str]:
    wanted = job.engine.attention
    if wanted == "Auto":
        return []
    if wanted == "Flash3":
        where = "which is not part of this image; use Auto, which is CUDNN on Hopper GPUs"
        return [f"engine.attention Flash3 needs the package flash_attn_interface, {where}"]
    if job.device == "cpu":
        return [f"engine.attention {wanted} needs GPUs; use Auto for CPU ranks"]
    if wanted == "SDPA" and job.degrees.world_size > 1:
        return ["engine.attention SDPA works on one GPU only; use Auto, CUDNN or Flash"]
    if wanted in ("CUDNN", "Flash") and job.model.dtype == "float32":
        return [f"engine.attention {wanted} cannot compute in float32; use Auto, or dtype bfloat16 or float16"]
    return []
