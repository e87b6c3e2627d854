"""What families with classifier-free guidance share: a second, unconditional half that follows the negative prompt."""

import torch

from xdit_api.base import Json
from xdit_runtime.engine.base import Request
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline

NEGATIVE = "negative_"


def given(names: tuple[str, ...], values: tuple[torch.Tensor | None, ...]) -> Embeddings:
    """What a pipeline's `encode_prompt` returned, by the names of the call's arguments; without guidance some are None."""
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def with_own_negative(embeddings: Embeddings) -> Embeddings:
    """The text in both halves: whatever the guidance scale, the result is that of the text alone, to the bit."""
    positive = {name: value for name, value in embeddings.items() if not name.startswith(NEGATIVE)}
    return positive | {NEGATIVE + name: value for name, value in positive.items()}


class MaskedText(Family):
    """Families whose text is one sequence and a mask that says which of its tokens are words."""

    def words(self, pipeline: Pipeline) -> Json:
        """Further arguments of the pipeline's `encode_prompt`."""
        return {}

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """The sequence and its mask; with guidance those of the negative prompt, too."""
        made = pipeline.encode_prompt(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            do_classifier_free_guidance=self.uses_guidance(request),
            device=device,
            **self.words(pipeline),
        )
        names = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
        return given(names, made)
