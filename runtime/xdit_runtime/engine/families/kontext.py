"""FLUX.1 Kontext: FLUX.1 dev that changes a picture."""

from collections.abc import Hashable, Sequence

import torch

from xdit_api.base import Json
from xdit_api.job import Degrees
from xdit_runtime.engine import inputs
from xdit_runtime.engine.base import OnStep, PromptError, Request
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline

_TOKENS = 512


class Kontext(Family):
    """FluxKontextPipeline."""

    name = "kontext"
    edits = True

    def transformer(self) -> type | None:
        """See Family."""
        from xdit_runtime.engine.families.kontext_transformer import SplitKontextTransformer

        kind: type = SplitKontextTransformer
        return kind

    def wrapped(self, degrees: Degrees) -> bool:
        """xfuser has no pipeline for it."""
        return False

    def before(self, pipeline: Pipeline, requests: Sequence[Request], arguments: Json) -> None:
        """xfuser's attention asks its runtime state for the length of the text."""
        from xfuser.core.distributed import get_runtime_state

        get_runtime_state().set_input_parameters(
            batch_size=len(requests), num_inference_steps=requests[0].steps, max_condition_sequence_length=_TOKENS
        )

    def check(self, pipeline: Pipeline, request: Request) -> None:
        """See Family."""
        super().check(pipeline, request)
        if len(request.inputs) > 1:
            raise PromptError(f"FLUX.1 Kontext changes one picture, and 'image' names {len(request.inputs)}")

    def text_key(self, request: Request) -> Hashable:
        """A negative prompt has no effect."""
        return request.prompt

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """T5's sequence and CLIP's pooled vector."""
        text, pooled, _ids = pipeline.encode_prompt(
            prompt=request.prompt, prompt_2=None, device=device, max_sequence_length=_TOKENS
        )
        return {"prompt_embeds": text, "pooled_prompt_embeds": pooled}

    def arguments(self, pipeline: Pipeline, requests: Sequence[Request], on_step: OnStep) -> Json:
        """The pipeline makes the input one megapixel large; without max_area it would make the picture so, too."""
        first = requests[0]
        more: Json = {"max_area": first.width * first.height, "max_sequence_length": _TOKENS}
        if first.inputs:
            more["image"] = inputs.read(first.inputs[0])
        return super().arguments(pipeline, requests, on_step) | more
