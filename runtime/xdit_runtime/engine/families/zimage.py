"""Z-Image and Z-Image-Turbo."""

from collections.abc import Sequence
from typing import Any

import torch

from xdit_api.base import Json
from xdit_api.job import Degrees
from xdit_runtime.engine.base import Request
from xdit_runtime.engine.families.base import Embeddings, Family, Pipeline


class ZImage(Family):
    """ZImagePipeline."""

    name = "z_image"

    def transformer(self) -> type | None:
        """See Family."""
        from xdit_runtime.engine.families.zimage_transformer import SplitZImageTransformer

        kind: type = SplitZImageTransformer
        return kind

    def wrapped(self, degrees: Degrees) -> bool:
        """xfuser has no such pipeline for it."""
        return False

    def before(self, pipeline: Pipeline, requests: Sequence[Request], arguments: Json) -> None:
        """See Family."""
        pipeline.transformer.pictures = len(requests)

    def uses_guidance(self, request: Request) -> bool:
        """Any scale above 0: its prediction is prompt + scale x (prompt - negative prompt)."""
        return request.guidance_scale > 0

    def encode(self, pipeline: Pipeline, request: Request, device: torch.device) -> Embeddings:
        """Tokens x width for the prompt, and for the negative prompt when there is guidance."""
        text, negative = pipeline.encode_prompt(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            do_classifier_free_guidance=self.uses_guidance(request),
            device=device,
        )
        return {"prompt_embeds": text[0]} | ({"negative_prompt_embeds": negative[0]} if negative else {})

    def join(self, embeddings: Sequence[Embeddings]) -> Any:
        """Lists, for texts are of unequal length."""
        return {name: [one[name] for one in embeddings] for name in embeddings[0]}
