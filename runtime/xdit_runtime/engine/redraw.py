"""Redrawing an input image (img2img): diffusers' other pipeline of the family, made of the same parts."""

import inspect
from collections.abc import Sequence
from typing import Any

import diffusers

from xdit_api.base import Json
from xdit_runtime.engine import inputs
from xdit_runtime.engine.base import OnStep, PromptError, Request
from xdit_runtime.engine.follow import follow

_PIPELINES = {
    "flux": "FluxImg2ImgPipeline",
    "sd3": "StableDiffusion3Img2ImgPipeline",
    "sdxl": "StableDiffusionXLImg2ImgPipeline",
    "qwen_image": "QwenImageImg2ImgPipeline",
    "z_image": "ZImageImg2ImgPipeline",
}
"""Family → the pipeline that redraws."""


def steps(family: str, request: Request) -> int:
    """How many of the request's steps are computed: the part that `strength` says, as the pipeline rounds it."""
    if request.strength is None:
        return request.steps
    part = min(request.steps * request.strength, request.steps)
    return int(part) if family == "sdxl" else request.steps - int(request.steps - part)


def check(family: str, request: Request, *, wrapped: bool) -> None:
    """Raise PromptError for what cannot be redrawn. wrapped: whether xfuser's pipeline takes the place of diffusers'."""
    if request.strength is None:
        return
    if family not in _PIPELINES:
        able = ", ".join(_PIPELINES)
        raise PromptError(f"{family} models cannot redraw an image: leave 'strength' out, or use a model of {able}")
    if wrapped:
        raise PromptError(
            "'strength' does not work with these degrees, for xfuser's own pipelines only draw: use ulysses and ring where the "
            "family has them without, or one GPU per lane"
        )
    if len(request.inputs) != 1:
        raise PromptError(f"'strength' redraws one image, and 'image' names {len(request.inputs) or 'none'}")
    if not 0 < request.strength <= 1:
        raise PromptError(f"strength {request.strength} is not above 0 and at most 1")
    if steps(family, request) < 1:
        least = -(-1 // request.strength)
        raise PromptError(f"strength {request.strength} of {request.steps} steps is less than one; use {least:.0f} steps or more")


def pipeline(drawing: Any, family: str) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The pipeline that redraws with the parts of the one that draws."""
    kind = getattr(diffusers, _PIPELINES[family])
    taken = inspect.signature(kind.__init__).parameters
    settings = {name: value for name, value in drawing.config.items() if name in taken and name not in drawing.components}
    return kind(**{name: part for name, part in drawing.components.items() if name in taken}, **settings)


def arguments(redrawing: Any, requests: Sequence[Request], drawing: Json, on_step: OnStep) -> Json:  # noqa: ANN401
    """Arguments of the call that redraws, from those of the call that would draw."""
    first = requests[0]
    follow(redrawing, on_step)
    taken = inspect.signature(type(redrawing).__call__).parameters
    pictures = [inputs.fitted(inputs.read(request.inputs[0]), request.width, request.height) for request in requests]
    more = {"image": pictures[0] if len(pictures) == 1 else pictures, "strength": first.strength}
    return {name: value for name, value in drawing.items() if name in taken} | more
