"""xfuser's own versions of diffusers' pipelines: classifier-free guidance on two ranks, PipeFusion, and families that xfuser
splits in no other way.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_runtime.engine import attention, repairs
from xdit_runtime.engine.base import Request, World
from xdit_runtime.engine.families.base import Family
from xdit_runtime.engine.groups import bounded
from xdit_runtime.engine.noise import SharedNoise
from xdit_runtime.engine.splitting import Plain, configuration


class Wrapped(Plain):
    """xfuser's version of the pipeline. The last rank decodes.

    It is made directly: xDiTParallel would run a warm-up on a GPU and tear the process group down when it is
    garbage-collected.
    """

    def __init__(self, job: Job, world: World, family: Family, kernel: attention.Attention, pipeline: Any) -> None:  # noqa: ANN401
        from xfuser.model_executor.pipelines.register import xFuserPipelineWrapperRegister

        self.source = world.size - 1
        self._degrees = job.degrees
        self._family = family
        with bounded(world.timeout):
            config = configuration(job, world, kernel)
            repairs.apply()
            self._wrapped = xFuserPipelineWrapperRegister.get_class(pipeline)(pipeline=pipeline, engine_config=config)
        self._noise = SharedNoise(pipeline.scheduler)

    def compile(self, pipeline: Any) -> None:  # noqa: ANN401
        """Nothing: xfuser's wrapper of the transformer sends messages from within every block, and gains too little."""

    def run(self, pipeline: Any, requests: Sequence[Request], arguments: Json) -> torch.Tensor | None:  # noqa: ANN401, ARG002
        """See Splitting."""
        from xfuser.core.distributed import get_runtime_state

        first = requests[0]
        state = get_runtime_state()
        # xfuser lowers it to the fewest steps that it has seen and never raises it again
        state.runtime_config.warmup_steps = self._degrees.warmup_steps
        # buffers of PipeFusion are made for a size and a batch; guidance doubles the batch, which xfuser does not see
        state.ready = False
        self._noise.begin(first.height, first.width)
        guided = self._family.uses_guidance(first)
        instead = None if guided else self._family.unguided(arguments)
        with nullcontext() if guided or instead is not None else _unguided(type(self._wrapped)):
            made = self._wrapped(**(instead or arguments))
        return None if made is None else made.images


@contextmanager
def _unguided(wrapper: type) -> Iterator[None]:
    """Calls without guidance: most of xfuser's pipelines double the latents all the same and fail.

    They ask two functions of their module how many halves a rank computes. The answer "one of two, and the other half is
    equal" leaves the latents alone, and any guidance scale gives back the prediction itself.
    """

    class Equal:
        @staticmethod
        def all_gather(tensor: torch.Tensor, **_options: object) -> tuple[torch.Tensor, torch.Tensor]:
            return tensor, tensor

        @staticmethod
        def broadcast(tensor: torch.Tensor, **_options: object) -> torch.Tensor:
            return tensor

    module = vars(sys.modules[wrapper.__module__])
    answers = {"get_classifier_free_guidance_world_size": lambda: 2, "get_cfg_group": Equal}
    before = {name: module[name] for name in answers if name in module}
    module.update({name: answers[name] for name in before})
    try:
        yield
    finally:
        module.update(before)
