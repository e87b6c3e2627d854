"""Lumina 2."""

import torch

from xdit_runtime.engine.base import Request
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline
from xdit_runtime.engine.families.guided import given


class Lumina2(Family):
    """Lumina2Pipeline."""

    name = "lumina2"

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """Gemma's 256 tokens after the system prompt, and which of them are text."""
        made = pipeline.encode_prompt(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            do_classifier_free_guidance=self.uses_guidance(request),
            device=device,
        )
        names = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
        return given(names, made)
