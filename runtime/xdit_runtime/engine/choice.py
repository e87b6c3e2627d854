"""Which engine runs a job."""

from collections.abc import Sequence
from pathlib import Path

import torch

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_runtime.engine import tuning
from xdit_runtime.engine.base import Engine, World
from xdit_runtime.engine.groups import Control
from xdit_runtime.engine.model import ModelEngine
from xdit_runtime.prompts.frozen import Shape

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def decide(job: Job, world: World, shapes: Sequence[Shape]) -> Json:
    """The job's decisions, as this rank's device suggests. shapes: of all its pictures."""
    capability = torch.cuda.get_device_capability(world.local_rank) if world.device == "cuda" else (0, 0)
    weights = [*Path(job.model.path).glob("transformer/*.safetensors"), *Path(job.model.path).glob("unet/*.safetensors")]
    # files may hold another format than the job's: that is an error of a factor of two at most
    parameters = sum(path.stat().st_size for path in weights) / _BYTES[job.model.dtype]
    return tuning.decide(job, shapes, parameters=parameters, capability=capability).dump()


def engine_for(job: Job, world: World, control: Control, decided: Json) -> Engine:
    """The engine, not loaded yet. decided: by `decide`, equal on all ranks."""
    return ModelEngine(job, world, control, tuning.Tuning.of(decided))
