"""HunyuanDiT."""

from collections.abc import Sequence

import torch

from xdit_api.base import Json
from xdit_runtime.engine.base import OnStep, Request
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline
from xdit_runtime.engine.families.guided import given, with_own_negative


class HunyuanDiT(Family):
    """HunyuanDiTPipeline."""

    name = "hunyuandit"

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """BERT's 77 and T5's 256 tokens, and which of them are text."""
        made: Embeddings = {}
        for index, (suffix, length) in enumerate((("", 77), ("_2", 256))):
            names = (
                f"prompt_embeds{suffix}",
                f"negative_prompt_embeds{suffix}",
                f"prompt_attention_mask{suffix}",
                f"negative_prompt_attention_mask{suffix}",
            )
            encoded = pipeline.encode_prompt(
                prompt=request.prompt,
                negative_prompt=request.negative_prompt,
                do_classifier_free_guidance=self.uses_guidance(request),
                device=device,
                dtype=pipeline.transformer.dtype,
                max_sequence_length=length,
                text_encoder_index=index,
            )
            made |= given(names, encoded)
        return made

    def arguments(self, pipeline: Pipeline, requests: Sequence[Request], on_step: OnStep) -> Json:
        """See Family. Pictures have the size that was asked for, not the nearest one of a table scaled to it."""
        return super().arguments(pipeline, requests, on_step) | {"use_resolution_binning": False}

    def unguided(self, arguments: Json) -> Json:
        """See Family. xfuser's pipeline returns its input when it has no guidance to apply."""
        text = {name: value for name, value in arguments.items() if name.startswith("prompt_")}
        return arguments | with_own_negative(text) | {"guidance_scale": 2.0}
