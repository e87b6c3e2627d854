"""Which settings of a job this version's engines can honour. Pure and torch-free: preflight asks before anything is loaded."""

from xdit_api.job import Job


def unsupported(job: Job) -> list[str]:
    """One sentence for each setting that would be ignored or fail, with what to write instead; empty when all is well."""
    engine = job.engine
    reasons = []
    if engine.compile == "Always":
        reasons.append("engine.compile Always is not available in this version; use Never, or Auto, which means Never for now")
    if engine.cache != "None":
        reasons.append(f"engine.cache {engine.cache} is not available in this version; use None")
    if engine.offload != "None":
        reasons.append(f"engine.offload {engine.offload} is not available in this version; use None and more or larger GPUs")
    if engine.quantization != "None":
        reasons.append(f"engine.quantization {engine.quantization} is not available in this version; use None")
    if job.model.loras:
        reasons.append("model.loras is not available in this version; leave it out or use a model with the LoRAs merged in")
    return [*reasons, *_attention(job)]


def _attention(job: Job) -> list[str]:
    wanted = job.engine.attention
    if wanted == "Auto":
        return []
    if wanted == "Flash3":
        return ["engine.attention Flash3 is not available in this version; use Auto, which is CUDNN on Hopper GPUs"]
    if job.device == "cpu":
        return [f"engine.attention {wanted} needs GPUs; use Auto for CPU ranks"]
    if wanted == "SDPA" and job.degrees.world_size > 1:
        return ["engine.attention SDPA works on one GPU only; use Auto, CUDNN or Flash"]
    if wanted in ("CUDNN", "Flash") and job.model.dtype == "float32":
        return [f"engine.attention {wanted} cannot compute in float32; use Auto, or dtype bfloat16 or float16"]
    return []
