"""The engine: any family of models, on one rank or on several."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from xdit_api import catalogue
from xdit_api.base import Json
from xdit_api.job import Job
from xdit_runtime.engine import (
    attention,
    compiling,
    families,
    groups,
    inputs,
    loading,
    options,
    quantization,
    readahead,
    redraw,
    splitting,
    unet,
    vae,
    wrapped,
)
from xdit_runtime.engine.base import Image, OnPart, OnStep, PlanError, PromptError, Request, World
from xdit_runtime.engine.groups import Control
from xdit_runtime.engine.loras import Loras
from xdit_runtime.engine.text import TextCache
from xdit_runtime.engine.tuning import Tuning


def device_of(world: World) -> torch.device:
    """The device of this rank."""
    return torch.device("cuda", world.local_rank) if world.device == "cuda" else torch.device("cpu")


def exact_arithmetic() -> None:
    """TF32 off: float32 jobs promise pictures within one level of each other. It changes nothing for the other dtypes."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


class ModelEngine:
    """One diffusers pipeline on the ranks of a lane."""

    def __init__(self, job: Job, world: World, control: Control, tuning: Tuning = Tuning()) -> None:  # noqa: B008 - frozen
        self._job = job
        self._world = world
        self._control = control
        self._tuning = tuning
        self._device = device_of(world)
        self._texts = TextCache(self._device)
        self.pipeline: Any = None
        self._redrawing: Any = None

    def load(self, on_part: OnPart) -> None:
        """See Engine.load."""
        loading.quiet()
        exact_arithmetic()
        job, directory = self._job, Path(self._job.model.path)
        facts = catalogue.from_configs(loading.model_index(directory), _transformer_config(directory))
        if isinstance(facts, str):
            raise PlanError(facts)
        if reasons := catalogue.legal(facts, job.degrees, ()):
            raise PlanError("; ".join(reasons))
        self._facts = facts
        self._family = families.family_of(facts.family)
        self._attention = attention.choose(
            job.engine.attention, device=job.device, dtype=job.model.dtype, capability=self._tuning.capability
        )
        self._split = self._load(on_part)
        self._begin = self._skipping()
        if self._tuning.compiled:
            compiling.prepare()
            self._split.compile(self.pipeline)
            if self._world.rank == self._split.source:
                vae.compile_decoding(self.pipeline.vae)

    def _load(self, on_part: OnPart) -> splitting.Splitting:
        job, family, world = self._job, self._family, self._world
        if world.size == 1 and (options.plain(job) or not family.alone_splits(self._tuning, world)):
            self._read(None, None, on_part)
            return splitting.Alone()
        if family.halves(job.degrees):
            self._read(None, None, on_part)
            on_part("groups")
            return unet.Halves(world, self.pipeline)
        on_part("xfuser")
        splitting.prepare(world.device)
        if family.wrapped(job.degrees):
            self._read(None, None, on_part)
            on_part("groups")
            return wrapped.Wrapped(job, world, family, self._attention, self.pipeline)
        self._read(family.transformer(), family.pipeline(), on_part)
        on_part("groups")
        groups.start_alone(world)
        split = splitting.Split(job, world, family, self._attention, self.pipeline)
        family.loaded(self.pipeline, job)
        return split

    def _read(self, transformer: type | None, pipeline: type | None, on_part: OnPart) -> None:
        model = self._job.model
        with readahead.reading(Path(model.path), self._world.local_rank, self._world.size):
            self.pipeline = loading.load(self._job, self._device, transformer, pipeline, on_part)
        self._loras = Loras(self.pipeline, self._family.name, Path(model.path), model.loras)
        quantization.quantize(splitting.network_of(self.pipeline), self._job.engine.quantization)

    def _skipping(self) -> Callable[[], None]:
        """Install the job's step cache; what to call before each call of the pipeline."""
        kind = self._job.engine.cache
        if kind == "None":
            return lambda: None
        from xdit_runtime.engine.stepcache import StepCache, among_ranks

        return StepCache(splitting.network_of(self.pipeline), kind, among_ranks() if self._world.size > 1 else None).begin

    def check(self, request: Request) -> None:
        """See Engine.check. xfuser would remember a size before it checks it, so that a refused one passed the second time."""
        if reasons := catalogue.legal(self._facts, self._job.degrees, [(request.width, request.height)]):
            # under policy Skip preflight has let such prompts pass
            raise (PromptError if self._job.prompts.policy == "Skip" else PlanError)("; ".join(reasons))
        redraw.check(self._facts.family, request, wrapped=isinstance(self._split, wrapped.Wrapped))
        self._loras.check(request)
        self._family.check(self.pipeline, request)
        for path, digest in zip(request.inputs, request.digests, strict=False):
            inputs.same(path, digest)
        for path in request.inputs:
            inputs.read(path)

    def batch(self, request: Request) -> int:
        """See Engine.batch."""
        alone = request.inputs or not self._family.batches
        return 1 if alone else self._tuning.batch(request.width, request.height)

    def generate(self, requests: Sequence[Request], on_step: OnStep) -> list[Image] | None:
        """See Engine.generate."""
        for request in requests:
            self.check(request)
        first, full = requests[0], len(requests) == self.batch(requests[0])
        size = (first.width, first.height)
        with torch.inference_mode(), attention.use(self._attention), compiling.only_if(full and size in self._tuning.compiled):
            if self._world.rank == self._split.source:
                vae.set_tiling(self.pipeline.vae, self._job.engine.vae.tiling, first.width, first.height)
            self._split.capture(self.pipeline, full and size in self._tuning.captured)
            self._loras.use(first)
            arguments = {**self._embeddings(requests), **self._family.arguments(self.pipeline, requests, on_step)}
            pipeline = self.pipeline
            if first.strength is not None:
                pipeline = self._redrawing = self._redrawing or redraw.pipeline(self.pipeline, self._family.name)
                arguments = redraw.arguments(pipeline, requests, arguments, on_step)
            self._begin()
            images = self._split.run(pipeline, requests, arguments)
            made = None
            if self._world.rank == self._split.source:
                assert images is not None
                made = to_bytes(images)
        return self._control.hand_over(
            made, source=self._split.source, count=len(requests), height=first.height, width=first.width
        )

    def close(self) -> None:
        """Let go of the model; the process groups stay until the process ends."""
        self.pipeline = self._redrawing = None

    def _embeddings(self, requests: Sequence[Request]) -> Json:
        family = self._family
        made = [
            self._texts.get(
                (self._loras.chosen(request), family.text_key(request)),
                lambda r=request: family.encode(self.pipeline, r, self._device),  # type: ignore[misc]
            )
            for request in requests
        ]
        return dict(family.join(made))


def _transformer_config(directory: Path) -> Json:
    for name in ("transformer", "unet"):
        path = directory / name / "config.json"
        if path.is_file():
            found: Json = json.loads(path.read_bytes())
            return found
    raise ValueError(f"{directory} has neither a transformer nor a unet")


def to_bytes(images: torch.Tensor) -> list[Image]:
    """B x 3 x H x W from 0 to 1 → B times H x W x 3 bytes, rounded on the device as diffusers rounds on the host."""
    scaled = images.float().mul(255).round_().to(torch.uint8)
    return list(scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy())
