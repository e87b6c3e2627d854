"""Sana."""

import inspect
from collections.abc import Sequence

from xdit_api.base import Json
from xdit_runtime.engine.base import OnStep, Request
from xdit_runtime.engine.families.base import Pipeline
from xdit_runtime.engine.families.guided import MaskedText


class Sana(MaskedText):
    """SanaPipeline."""

    name = "sana"

    def words(self, pipeline: Pipeline) -> Json:
        """Gemma's 300 tokens come after the instruction that the model was trained with."""
        instruction = inspect.signature(type(pipeline).__call__).parameters["complex_human_instruction"].default
        return {"complex_human_instruction": instruction}

    def arguments(self, pipeline: Pipeline, requests: Sequence[Request], on_step: OnStep) -> Json:
        """See Family. Pictures have the size that was asked for, not the nearest one of a table scaled to it."""
        return super().arguments(pipeline, requests, on_step) | {"negative_prompt": None, "use_resolution_binning": False}
