"""What is known of an image: the same facts in its own metadata, in the journal and in the manifest."""

import hashlib
import json

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_api.prompts import Prompt, image_names, image_seed
from xdit_runtime.lossy import lossy

_INPUTS = ("id", "prompt", "negative_prompt", "seed", "width", "height", "steps", "guidance_scale")
"""What decides a picture of a given model; the key is made of these."""
_OPTIONAL_INPUTS = ("inputs", "strength", "loras")
"""The same, absent where a prompt does not say them: an image made before they existed keeps its key."""


def key_of(record: Json) -> str:
    """32 hexadecimal digits that differ when any input of the image differs."""
    said = [[name, record[name]] for name in _OPTIONAL_INPUTS if name in record]
    return hashlib.sha256(json.dumps([*(record[name] for name in _INPUTS), *said]).encode()).hexdigest()[:32]


def record_of(job: Job, prompt: Prompt, k: int) -> Json:
    """Everything about image k (from 0) of a prompt that is known before it is made."""
    record: Json = {
        "image": image_names(prompt)[k],
        "id": prompt.id,
        "k": k,
        "prompt": prompt.prompt,
        "negative_prompt": prompt.negative_prompt,
        "seed": image_seed(job.defaults.seed, prompt, k),
        "width": prompt.width,
        "height": prompt.height,
        "steps": prompt.steps,
        "guidance_scale": prompt.guidance_scale,
        **_said(prompt),
        "extra": json.loads(prompt.extra),
        "model": job.model.id,
        "dtype": job.model.dtype,
        "degrees": job.degrees.describe(),
        "job": f"{job.namespace}/{job.name}" if job.namespace else job.name,
        "uid": job.uid,
    }
    if settings := lossy(job, prompt.steps):
        record["lossy"] = settings
    return {**record, "key": key_of(record)}


def _said(prompt: Prompt) -> Json:
    """Inputs that most prompts do not have. Input images are known by their content: paths change, pictures do not."""
    out: Json = {}
    if prompt.inputs:
        out["inputs"] = list(prompt.digests)
        out["input_files"] = list(prompt.inputs)
    if prompt.strength is not None:
        out["strength"] = prompt.strength
    if prompt.loras is not None:
        out["loras"] = [[name, scale] for name, scale in prompt.loras]
    return out


def difference(there: Json, here: Json) -> str:
    """The inputs in which two images differ, with both values."""
    differing = [name for name in _INPUTS + _OPTIONAL_INPUTS if there.get(name) != here.get(name)]
    return "; ".join(f"{name} {_short(there.get(name))} there, {_short(here.get(name))} here" for name in differing)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"
