"""Sana."""

import inspect
from collections.abc import Sequence

import torch

from xdit_api.base import Json
from xdit_runtime.engine.base import OnStep, Request
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline
from xdit_runtime.engine.families.guided import given


class Sana(Family):
    """SanaPipeline."""

    name = "sana"

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """Gemma's 300 tokens after the instruction that the model was trained with, and which of them are text."""
        made = pipeline.encode_prompt(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            do_classifier_free_guidance=self.uses_guidance(request),
            device=device,
            complex_human_instruction=inspect.signature(type(pipeline).__call__).parameters["complex_human_instruction"].default,
        )
        names = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
        return given(names, made)

    def arguments(self, pipeline: Pipeline, requests: Sequence[Request], on_step: OnStep) -> Json:
        """See Family. Pictures have the size that was asked for, not the nearest one of a table scaled to it."""
        return super().arguments(pipeline, requests, on_step) | {"negative_prompt": None, "use_resolution_binning": False}
