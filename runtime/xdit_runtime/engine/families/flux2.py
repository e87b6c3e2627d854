"""FLUX.2 dev and klein. Both draw, and change pictures."""

from collections.abc import Hashable, Sequence

import torch

from xdit_api.base import Json
from xdit_api.job import Degrees
from xdit_runtime.engine import inputs
from xdit_runtime.engine.base import OnStep, PromptError, Request
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline
from xdit_runtime.engine.turns import Turns

_TOKENS = 512
_INPUTS = 10


class Flux2(Family):
    """Flux2Pipeline. Guidance is an input of the model: there is no unconditional half and no negative prompt."""

    name = "flux2"
    edits = True

    def transformer(self) -> type | None:
        """See Family."""
        from xdit_runtime.engine.families.flux2_transformer import SplitFlux2Transformer

        kind: type = SplitFlux2Transformer
        return kind

    def wrapped(self, degrees: Degrees) -> bool:
        """Only for PipeFusion."""
        return degrees.pipefusion > 1

    def check(self, pipeline: Pipeline, request: Request) -> None:
        """See Family."""
        super().check(pipeline, request)
        if len(request.inputs) > _INPUTS:
            raise PromptError(f"FLUX.2 looks at up to {_INPUTS} pictures, and 'image' names {len(request.inputs)}")

    def text_key(self, request: Request) -> Hashable:
        """A negative prompt has no effect."""
        return request.prompt

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """Layers of the language model side by side: 1 x tokens x width."""
        text, _ids = pipeline.encode_prompt(prompt=request.prompt, device=device, max_sequence_length=_TOKENS)
        return {"prompt_embeds": text}

    def arguments(self, pipeline: Pipeline, requests: Sequence[Request], on_step: OnStep) -> Json:
        """See Family."""
        given = super().arguments(pipeline, requests, on_step)
        return given | {"image": [inputs.read(path) for path in requests[0].inputs] or None}


class Flux2Klein(Flux2):
    """Flux2KleinPipeline. The base models have an unconditional half, which the pipeline leaves without words."""

    name = "flux2_klein"

    def text_key(self, request: Request) -> Hashable:
        """See Family."""
        return (request.prompt, self.uses_guidance(request))

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """Layers of the language model side by side: 1 x tokens x width."""
        made = super().encode(pipeline, request, device)
        if self.uses_guidance(request) and not pipeline.config.is_distilled:
            made["negative_prompt_embeds"], _ids = pipeline.encode_prompt(prompt="", device=device, max_sequence_length=_TOKENS)
        return made

    def before(self, pipeline: Pipeline, requests: Sequence[Request], arguments: Json) -> None:
        """See Family."""
        from xfuser.core.distributed import get_classifier_free_guidance_world_size

        negative = arguments.get("negative_prompt_embeds")
        shared = negative is not None and get_classifier_free_guidance_world_size() == 2
        pipeline.transformer.turns = Turns({"text": negative}) if shared else None
