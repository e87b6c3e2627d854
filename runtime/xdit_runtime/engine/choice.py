"""Which engine runs a job."""

from xdit_api.job import Job
from xdit_runtime.engine.base import Engine, World
from xdit_runtime.engine.groups import Control
from xdit_runtime.engine.model import ModelEngine


def engine_for(job: Job, world: World, control: Control) -> Engine:
    """The engine, not loaded yet."""
    return ModelEngine(job, world, control)
