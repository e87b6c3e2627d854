"""One rank: diffusers alone, without xfuser."""

from typing import Any

import torch

from xdit_api.job import Job
from xdit_runtime.engine import attention, flux
from xdit_runtime.engine.base import Image, OnPart, OnStep, PlanError, Request, World
from xdit_runtime.engine.text import Embeddings, TextCache


def device_of(world: World) -> torch.device:
    """The device of this rank."""
    return torch.device("cuda", world.local_rank) if world.device == "cuda" else torch.device("cpu")


def kernel(job: Job, world: World) -> attention.Attention:
    """The attention kernel of this rank."""
    capability = torch.cuda.get_device_capability(world.local_rank) if world.device == "cuda" else (0, 0)
    return attention.choose(job.engine.attention, device=world.device, dtype=job.model.dtype, capability=capability)


def exact_arithmetic() -> None:
    """TF32 off: float32 jobs promise pictures within one level of each other. It changes nothing for the other dtypes."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


class DiffusersEngine:
    """FluxPipeline on one device."""

    def __init__(self, job: Job, world: World) -> None:
        self._job = job
        self._world = world
        self._device = device_of(world)
        self.pipeline: Any = None

    def load(self, on_part: OnPart) -> None:
        """See Engine.load."""
        flux.quiet()
        exact_arithmetic()
        self.pipeline = flux.load(self._job, self._device, on_part)
        self.pipeline.transformer.set_attention_backend(kernel(self._job, self._world).diffusers)
        self._length = flux.sequence_length(self.pipeline)
        self._texts = TextCache(self._encode, self._device)

    def check(self, request: Request) -> None:
        """Raise PlanError for a size that FLUX cannot make."""
        for name, pixels in (("width", request.width), ("height", request.height)):
            if pixels % 16:
                raise PlanError(f"{name} {pixels} is not a multiple of 16")

    def generate(self, request: Request, on_step: OnStep) -> Image | None:
        """See Engine.generate."""
        self.check(request)
        with torch.inference_mode():
            flux.set_tiling(self.pipeline, self._job, request)
            images = self._run(flux.arguments(request, self._texts.get(request.prompt), self._length, on_step))
            return None if images is None else flux.to_bytes(images)

    def close(self) -> None:
        """Let go of the model."""
        self.pipeline = None

    def _run(self, arguments: dict[str, Any]) -> torch.Tensor | None:
        images: torch.Tensor = self.pipeline(**arguments).images
        return images

    def _encode(self, prompt: str) -> Embeddings:
        text, pooled, _ids = self.pipeline.encode_prompt(
            prompt=prompt, prompt_2=None, device=self._device, max_sequence_length=self._length
        )
        return text, pooled
