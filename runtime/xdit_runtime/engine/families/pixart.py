"""PixArt-Alpha and PixArt-Sigma."""

from collections.abc import Sequence

from xdit_api.base import Json
from xdit_runtime.engine.base import OnStep, Request
from xdit_runtime.engine.families.base import Pipeline
from xdit_runtime.engine.families.guided import MaskedText


class PixArt(MaskedText):
    """PixArtAlphaPipeline and PixArtSigmaPipeline."""

    name = "pixart"

    def words(self, pipeline: Pipeline) -> Json:
        """T5's tokens: Alpha was trained with 120, Sigma with 300."""
        return {"max_sequence_length": 120 if type(pipeline).__name__ == "PixArtAlphaPipeline" else 300}

    def arguments(self, pipeline: Pipeline, requests: Sequence[Request], on_step: OnStep) -> Json:
        """See Family. Pictures have the size that was asked for, not the nearest one of a table scaled to it."""
        return super().arguments(pipeline, requests, on_step) | {"negative_prompt": None, "use_resolution_binning": False}
