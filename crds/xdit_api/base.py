"""What every model of the contract shares: camelCase on the wire, frozen values, bounded types."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

Json = dict[str, Any]
"""A decoded JSON object whose shape another party owns (Kubernetes, a user's free-form field)."""


class Model(BaseModel):
    """Frozen; camelCase aliases; fields that a newer version added are ignored, so that an older reader survives."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    def dump(self) -> Json:
        """The JSON object of this value: camelCase names, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def cel(rule: str, message: str, *, expression: str | None = None, field: str | None = None, forbidden: bool = False) -> Json:
    """One `x-kubernetes-validations` entry.

    rule: CEL that must be true. message: what the user reads when it is not; `expression`, when given, is CEL that
    yields that text with the numbers in it (the API server falls back to `message` when it fails).
    """
    out: Json = {"rule": rule, "message": message}
    if expression is not None:
        out["messageExpression"] = expression
    if field is not None:
        out["fieldPath"] = field
    if forbidden:
        out["reason"] = "FieldValueForbidden"
    return out


def rules(*entries: Json) -> Json:
    """A `json_schema_extra` that carries CEL rules."""
    return {"x-kubernetes-validations": list(entries)}


Int32 = Annotated[int, Field(json_schema_extra={"format": "int32"})]
Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]
Name = Annotated[str, Field(min_length=1, max_length=253)]
"""A Kubernetes object name in the same namespace."""
RELATIVE = cel(
    "!self.startsWith('/') && self.split('/').all(part, part != '' && part != '.' && part != '..')",
    "must be a relative path without empty, '.' or '..' parts, for example 'models/flux-dev'",
)
"""The rule of RelativePath, for paths that have more rules."""
RelativePath = Annotated[str, Field(min_length=1, max_length=512, json_schema_extra=rules(RELATIVE))]
Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
        }
    ),
]
"""A Kubernetes quantity: 4, "500m", "16Gi"."""
FreeForm = Annotated[Json, WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
"""A Kubernetes object that is passed through to the pod template as it is."""
Timestamp = Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
"""RFC 3339, UTC, whole seconds."""
