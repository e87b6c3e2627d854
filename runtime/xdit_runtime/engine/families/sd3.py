"""Stable Diffusion 3 and 3.5."""

import torch

from xdit_runtime.engine.base import Request
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline
from xdit_runtime.engine.families.guided import given

_TOKENS = 256
"""Of T5. xfuser's pipeline knows no other number, so that no other would give the same picture at every degree."""


class SD3(Family):
    """StableDiffusion3Pipeline."""

    name = "sd3"

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """CLIP's and T5's tokens in one sequence, and the pooled vector of both CLIPs."""
        made = pipeline.encode_prompt(
            prompt=request.prompt,
            prompt_2=None,
            prompt_3=None,
            negative_prompt=request.negative_prompt,
            do_classifier_free_guidance=self.uses_guidance(request),
            device=device,
            max_sequence_length=_TOKENS,
        )
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        return given(names, made)
