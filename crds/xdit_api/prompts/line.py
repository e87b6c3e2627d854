"""What a record may hold: the fields, their types and bounds."""

from collections.abc import Mapping
from typing import Annotated

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


def wrong(record: Mapping[str, object]) -> str | None:
    """Everything that is wrong with the plain fields, in one line; None when nothing is."""
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
