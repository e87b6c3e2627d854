"""Several ranks: diffusers' FluxPipeline in xfuser's wrapper, with Ulysses, ring or both.

The wrapper is called directly. xDiTParallel would run a warm-up on a GPU and tear the process group down when it is
garbage-collected.
"""

import os
from typing import Any

import torch

from xdit_api.catalogue import ModelFacts, legal
from xdit_api.job import Job
from xdit_runtime.engine import cpu, flux
from xdit_runtime.engine.base import Image, OnPart, OnStep, PlanError, Request, World
from xdit_runtime.engine.diffusers_engine import DiffusersEngine, exact_arithmetic, kernel
from xdit_runtime.engine.groups import Control, bounded
from xdit_runtime.engine.text import TextCache


class PipelineEngine(DiffusersEngine):
    """FluxPipeline over the ranks of a lane."""

    def __init__(self, job: Job, world: World, control: Control) -> None:
        super().__init__(job, world)
        self._control = control
        self._wrapped: Any = None

    def load(self, on_part: OnPart) -> None:
        """See Engine.load."""
        flux.quiet()
        exact_arithmetic()
        on_part("xfuser")
        os.environ.setdefault("LOG_LEVEL", "error")  # else xfuser logs every layer that it wraps
        if self._world.device == "cpu":
            cpu.install()
        import xfuser

        self.pipeline = flux.load(self._job, self._device, on_part)
        self._length = flux.sequence_length(self.pipeline)
        self._texts = TextCache(self._encode, self._device)
        self._facts = ModelFacts("flux", self.pipeline.transformer.config.num_attention_heads, ("ulysses", "ring"))
        if reasons := legal(self._facts, self._job.degrees, ()):
            raise PlanError("; ".join(reasons))
        on_part("groups")
        with bounded(self._world.timeout):
            self._wrapped = self._wrap(xfuser)

    def check(self, request: Request) -> None:
        """Raise PlanError for a size that cannot be split over the ranks.

        Xfuser would remember a size before it checks it, so that a refused one passed the second time.
        """
        super().check(request)
        if reasons := legal(self._facts, self._job.degrees, [(request.width, request.height)]):
            raise PlanError("; ".join(reasons))

    def generate(self, request: Request, on_step: OnStep) -> Image | None:
        """See Engine.generate. The last rank decodes."""
        image = super().generate(request, on_step)
        return self._control.hand_over(image, source=self._world.size - 1, height=request.height, width=request.width)

    def close(self) -> None:
        """Let go of the model; the process groups stay until the process ends."""
        self._wrapped = None
        super().close()

    def _wrap(self, xfuser: Any) -> Any:  # noqa: ANN401 - xfuser is not typed
        from xfuser.core.distributed import init_distributed_environment
        from xfuser.model_executor.pipelines.register import xFuserPipelineWrapperRegister

        degrees = self._job.degrees
        init_distributed_environment(local_rank=self._world.local_rank)
        config, _ = xfuser.xFuserArgs(
            model=self._job.model.path,
            prompt=["-"],
            ulysses_degree=degrees.ulysses,
            ring_degree=degrees.ring,
            attention_backend=kernel(self._job, self._world).xfuser,
        ).create_config()
        config.runtime_config.dtype = getattr(torch, self._job.model.dtype)
        return xFuserPipelineWrapperRegister.get_class(self.pipeline)(pipeline=self.pipeline, engine_config=config)

    def _run(self, arguments: dict[str, Any]) -> torch.Tensor | None:
        made = self._wrapped(**arguments)
        return None if made is None else made.images
