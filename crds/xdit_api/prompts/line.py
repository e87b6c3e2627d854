"""What a record may hold: the fields, their types and bounds."""

import math
from collections.abc import Mapping
from typing import Annotated, get_args

from annotated_types import Ge, Gt, Le, MultipleOf
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xdit_api.prompts.problems import shown
from xdit_api.spec import Guidance, ImageCount, Seed, Size, Steps

Strength = Annotated[float, Field(gt=0, le=1)]


class PromptLine(BaseModel):
    """Plain fields of a record as a user writes it; the others are checked in `fields`. None is absent."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)
    prompt: str
    negative_prompt: str | None = None
    seed: Seed | None = None
    width: Size | None = None
    height: Size | None = None
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    strength: Strength | None = None
    images: ImageCount | None = None


def _bounds(annotated: object) -> tuple[float, float, int]:
    """(least, largest, step)."""
    least, largest, step = -math.inf, math.inf, 1
    for entry in get_args(annotated)[1].metadata:
        match entry:
            case Ge(ge=int() | float() as value):
                least = value
            case Gt(gt=int() | float() as value):
                least = math.nextafter(value, math.inf)
            case Le(le=int() | float() as value):
                largest = value
            case MultipleOf(multiple_of=int() as value):
                step = value
            case _:
                raise AssertionError(entry)
    return least, largest, step


_INTEGERS = {
    "seed": _bounds(Seed),
    "width": _bounds(Size),
    "height": _bounds(Size),
    "steps": _bounds(Steps),
    "images": _bounds(ImageCount),
}
_NUMBERS = {"guidance_scale": _bounds(Guidance), "strength": _bounds(Strength)}


def plain(record: Mapping[str, object]) -> bool:
    """Whether PromptLine surely takes the record: what it says in 15 us, in less than one, for almost every line."""
    if type(record.get("prompt")) is not str:
        return False
    for name, value in record.items():
        if value is None or name == "prompt":
            continue
        if name in _INTEGERS:
            least, largest, step = _INTEGERS[name]
            if type(value) is not int or not least <= value <= largest or value % step:
                return False
        elif name in _NUMBERS:
            least, largest, _ = _NUMBERS[name]
            if (type(value) is not float and type(value) is not int) or not least <= value <= largest:
                return False
        elif name == "negative_prompt" and type(value) is not str:
            return False
    return True


def wrong(record: Mapping[str, object]) -> str | None:
    """Everything that is wrong with the plain fields, in one line; None when nothing is."""
    if plain(record):
        return None
    try:
        PromptLine.model_validate(record)
    except ValidationError as error:
        return "; ".join(_explain(e["type"], str(e["loc"][0]), e["msg"], e["input"]) for e in error.errors(include_url=False))
    return None


def _explain(kind: str, field: str, message: str, value: object) -> str:
    if kind == "missing":
        return f"'{field}' is missing"
    said = "" if isinstance(value, dict | list) else f", not {shown(value)}"
    return f"{field}: {message[0].lower()}{message[1:]}{said}"
