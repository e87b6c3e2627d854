"""Stable Diffusion XL: a UNet, which is split by the two halves of guidance only."""

import torch

from xdit_api.job import Degrees
from xdit_runtime.engine.base import Request
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline
from xdit_runtime.engine.families.guided import given


class SDXL(Family):
    """StableDiffusionXLPipeline."""

    name = "sdxl"

    def halves(self, degrees: Degrees) -> bool:
        """See Family."""
        return degrees.cfg > 1

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """Both CLIPs' tokens side by side, and the pooled vector of the larger one."""
        made = pipeline.encode_prompt(
            prompt=request.prompt,
            # models are trained with zeros for no negative prompt, which is not the same as an empty one
            negative_prompt=request.negative_prompt or None,
            do_classifier_free_guidance=self.uses_guidance(request),
            device=device,
        )
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        return given(names, made)
