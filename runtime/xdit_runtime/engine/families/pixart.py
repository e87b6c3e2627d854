"""PixArt-Alpha and PixArt-Sigma."""

from collections.abc import Sequence

import torch

from xdit_api.base import Json
from xdit_runtime.engine.base import OnStep, Request
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline
from xdit_runtime.engine.families.guided import given


class PixArt(Family):
    """PixArtAlphaPipeline and PixArtSigmaPipeline."""

    name = "pixart"

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """T5's tokens and which of them are text. Alpha was trained with 120 tokens, Sigma with 300."""
        made = pipeline.encode_prompt(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            do_classifier_free_guidance=self.uses_guidance(request),
            device=device,
            max_sequence_length=120 if type(pipeline).__name__ == "PixArtAlphaPipeline" else 300,
        )
        names = (
            "prompt_embeds",
            "prompt_attention_mask",
            "negative_prompt_embeds",
            "negative_prompt_attention_mask",
        )
        return given(names, made)

    def arguments(self, pipeline: Pipeline, requests: Sequence[Request], on_step: OnStep) -> Json:
        """See Family. Pictures have the size that was asked for, not the nearest one of a table scaled to it."""
        return super().arguments(pipeline, requests, on_step) | {"negative_prompt": None, "use_resolution_binning": False}
