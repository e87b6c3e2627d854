"""The ways in which a lane's ranks share one picture."""

import os
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from xdit_api.base import Json
from xdit_api.job import Degrees, Job
from xdit_runtime.engine import attention, compiling, cpu, pipefusion, vae
from xdit_runtime.engine.base import Request, World
from xdit_runtime.engine.families.base import Family
from xdit_runtime.engine.groups import bounded


class Splitting(Protocol):
    """How a call of the pipeline runs on this rank."""

    source: int
    """Rank that has the pictures afterwards."""

    def run(self, pipeline: Any, requests: Sequence[Request], arguments: Json) -> torch.Tensor | None:  # noqa: ANN401
        """The pictures as B x 3 x H x W from 0 to 1, on rank `source` at least."""

    def compile(self, pipeline: Any) -> None:  # noqa: ANN401
        """Have the transformer compiled at its next calls."""

    def capture(self, pipeline: Any, wanted: bool) -> None:  # noqa: ANN401
        """Whether the steps of the next call run as a CUDA graph, where that can be done."""


class Plain:
    """Compiles the blocks of the pipeline's transformer; captures nothing."""

    def compile(self, pipeline: Any) -> None:  # noqa: ANN401
        """See Splitting."""
        compiling.compile_blocks(network_of(pipeline))

    def capture(self, pipeline: Any, wanted: bool) -> None:  # noqa: ANN401
        """See Splitting."""


class Alone(Plain):
    """One rank: diffusers as it is."""

    source = 0

    def run(self, pipeline: Any, requests: Sequence[Request], arguments: Json) -> torch.Tensor | None:  # noqa: ANN401, ARG002
        """See Splitting."""
        images: torch.Tensor = pipeline(**arguments).images
        return images


class Split(Plain):
    """A plain pipeline of diffusers with a transformer that shares its sequence among the ranks. Rank 0 decodes."""

    source = 0

    def __init__(self, job: Job, world: World, family: Family, kernel: attention.Attention, pipeline: Any) -> None:  # noqa: ANN401
        from xfuser.core.distributed import initialize_runtime_state

        self._family = family
        with bounded(world.timeout):
            initialize_runtime_state(pipeline, configuration(job, world, kernel))
        if world.rank != self.source:
            vae.leave_decoding_to_others(pipeline.vae)

    def run(self, pipeline: Any, requests: Sequence[Request], arguments: Json) -> torch.Tensor | None:  # noqa: ANN401
        """See Splitting."""
        self._family.before(pipeline, requests, arguments)
        images: torch.Tensor = pipeline(**arguments).images
        return images

    def compile(self, pipeline: Any) -> None:  # noqa: ANN401
        """See Splitting."""
        if not self._family.compile(pipeline):
            super().compile(pipeline)

    def capture(self, pipeline: Any, wanted: bool) -> None:  # noqa: ANN401
        """See Splitting."""
        self._family.capture(pipeline, wanted)


def network_of(pipeline: Any) -> Any:  # noqa: ANN401
    """What denoises: the transformer, or the UNet."""
    return pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer


def prepare(device: str) -> None:
    """Import xfuser. Before any model is loaded, and on every rank."""
    os.environ.setdefault("LOG_LEVEL", "error")  # else xfuser logs every layer that it wraps
    if device == "cpu":
        cpu.install()
    pipefusion.install()


def configuration(job: Job, world: World, kernel: attention.Attention) -> Any:  # noqa: ANN401
    """xfuser's EngineConfig for the job's degrees. Joins xfuser's default group."""
    import xfuser
    from xfuser.core.distributed import init_distributed_environment

    degrees: Degrees = job.degrees
    init_distributed_environment(local_rank=world.local_rank)
    config, _ = xfuser.xFuserArgs(
        model=job.model.path,
        prompt=["-"],
        ulysses_degree=degrees.ulysses,
        ring_degree=degrees.ring,
        pipefusion_parallel_degree=degrees.pipefusion,
        num_pipeline_patch=degrees.pipefusion_patches,
        warmup_steps=degrees.warmup_steps,
        use_cfg_parallel=degrees.cfg > 1,
        attention_backend=kernel.xfuser,
    ).create_config()
    # its default is float16, and buffers of PipeFusion are made with it
    config.runtime_config.dtype = getattr(torch, job.model.dtype)
    return config
