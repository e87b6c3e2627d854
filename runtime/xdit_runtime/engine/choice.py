"""Which engine runs a job."""

from xdit_api.job import Job
from xdit_runtime.engine.base import Engine, World
from xdit_runtime.engine.diffusers_engine import DiffusersEngine
from xdit_runtime.engine.groups import Control


def engine_for(job: Job, world: World, control: Control) -> Engine:
    """The engine, not loaded yet: plain diffusers for one rank, xfuser's pipelines for more."""
    if world.size == 1:
        return DiffusersEngine(job, world)
    from xdit_runtime.engine.pipeline import PipelineEngine

    return PipelineEngine(job, world, control)
