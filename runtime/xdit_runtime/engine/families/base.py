"""What a family of models does in its own way. Most families override three or four of these methods."""

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

import torch

from xdit_api.base import Json
from xdit_api.job import Degrees, Job
from xdit_runtime.engine.base import OnStep, PromptError, Request, World
from xdit_runtime.engine.follow import follow
from xdit_runtime.engine.tuning import Tuning

Pipeline = Any
"""A diffusers pipeline; diffusers is not typed."""
Embeddings = dict[str, torch.Tensor]
"""Arguments of a pipeline's call that depend on the text alone, each 1 x …: prompt_embeds, pooled_prompt_embeds, …"""


class Family:
    """The common way; a family's module overrides what differs."""

    name: ClassVar[str]
    """As in the catalogue."""
    guidance: ClassVar[str] = "guidance_scale"
    """Name of the call's argument."""
    batches: ClassVar[bool] = True
    """Whether several pictures can be drawn at once."""
    edits: ClassVar[bool] = False
    """Whether the pipeline itself takes input images."""

    # --- how it is split -------------------------------------------------------------------------------------------------

    def transformer(self) -> type | None:
        """xfuser's transformer that splits the sequence by itself, for the plain pipeline of diffusers (engine `runner`).

        None when the family is only known to xfuser's wrapped pipelines (engine `pipeline`).
        """
        return None

    def wrapped(self, degrees: Degrees) -> bool:
        """Whether xfuser's wrapped pipeline runs these degrees; else the transformer of `transformer` in a plain pipeline."""
        return degrees.pipefusion > 1 or degrees.cfg > 1 or self.transformer() is None

    def halves(self, degrees: Degrees) -> bool:
        """Whether the two halves of guidance run on two ranks, in a plain pipeline with a UNet."""
        return False

    def alone_splits(self, tuning: Tuning, world: World) -> bool:
        """Whether one rank alone runs the transformer of `transformer` too, because it is faster."""
        return False

    def compile(self, pipeline: Pipeline) -> bool:
        """Have that transformer compiled in a way of its own; False: block by block."""
        return False

    def capture(self, pipeline: Pipeline, wanted: bool) -> None:
        """Whether the steps of the next call run as a CUDA graph, where the family can do that."""

    def unguided(self, arguments: Json) -> Json | None:
        """Arguments of a wrapped pipeline that cannot do without guidance, for a call without it; None: as they are."""
        return None

    def pipeline(self) -> type | None:
        """The pipeline to put that transformer into; None: the one that model_index.json names."""
        return None

    def loaded(self, pipeline: Pipeline, job: Job) -> None:
        """Called once on every rank when a plain pipeline with a split transformer is on the device and the groups are made."""

    def before(self, pipeline: Pipeline, requests: Sequence[Request], arguments: Json) -> None:
        """Called on every rank before each call of a plain pipeline with a split transformer, with the call's arguments."""

    # --- what a call gets ------------------------------------------------------------------------------------------------

    def check(self, pipeline: Pipeline, request: Request) -> None:
        """Raise PromptError for what this family cannot draw."""
        if request.inputs and not self.edits and request.strength is None:
            raise PromptError(f"{self.name} models take no input images: leave 'image' out, or add 'strength' to redraw one")

    def uses_guidance(self, request: Request) -> bool:
        """Whether the picture needs a second, unconditional half (classifier-free guidance)."""
        return request.guidance_scale > 1

    def text_key(self, request: Request) -> Hashable:
        """Requests with equal keys have equal embeddings."""
        return (request.prompt, request.negative_prompt, self.uses_guidance(request))

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """The embeddings of one request, on the device."""
        raise NotImplementedError

    def join(self, embeddings: Sequence[Embeddings]) -> Embeddings:
        """The embeddings of a batch."""
        if len(embeddings) == 1:
            return embeddings[0]
        return {name: torch.cat([one[name] for one in embeddings]) for name in embeddings[0]}

    def arguments(self, pipeline: Pipeline, requests: Sequence[Request], on_step: OnStep) -> Json:
        """Keyword arguments of one call, without the embeddings; `on_step` is told of the steps of that call.

        The noise comes from CPU generators, one a picture: equal on every kind of GPU, at any degree and in any batch.
        """
        first = requests[0]
        follow(pipeline, on_step)
        return {
            "height": first.height,
            "width": first.width,
            "num_inference_steps": first.steps,
            self.guidance: first.guidance_scale,
            "generator": [torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            "output_type": "pt",
        }
