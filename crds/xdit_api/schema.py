"""pydantic models → the structural OpenAPI schema that the API server accepts.

Inlines references, turns `T | None` into T, drops what a CRD must not have, and refuses anything else by path.
"""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from xdit_api.base import Json

_ALLOWED = frozenset(
    [
        "type",
        "format",
        "description",
        "default",
        "enum",
        "properties",
        "required",
        "items",
        "additionalProperties",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "multipleOf",
        "nullable",
    ]
)
_DROPPED = frozenset({"title", "$defs"})


class _Generator(GenerateJsonSchema):
    """Optional fields are absent rather than null; a model's default is written as users would write it."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def literal_schema(self, schema: Any) -> JsonSchemaValue:
        out = super().literal_schema(schema)
        if "const" in out:
            out["enum"] = [out.pop("const")]
        return out

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_none=True)
        return super().encode_default(dft)


def structural(model: type[BaseModel]) -> Json:
    """The structural schema of a model. Raises ValueError, naming the path, for what a CRD cannot express."""
    root = model.model_json_schema(schema_generator=_Generator, by_alias=True)
    return _node(root, root.get("$defs", {}), model.__name__, ())


def _node(node: Json, defs: Json, path: str, seen: tuple[str, ...]) -> Json:
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[1]
        if name in seen:
            raise ValueError(f"{path}: recursive model {name}")
        node = {**defs[name], **{k: v for k, v in node.items() if k != "$ref"}}
        seen = (*seen, name)
    out: Json = {}
    for key, value in node.items():
        match key:
            case k if k in _DROPPED:
                continue
            case "exclusiveMinimum" | "exclusiveMaximum":
                out["minimum" if key == "exclusiveMinimum" else "maximum"] = value
                out[key] = True
            case "properties":
                out[key] = {n: _node(s, defs, f"{path}.{n}", seen) for n, s in value.items()}
            case "items":
                out[key] = _node(value, defs, f"{path}[]", seen)
            case "additionalProperties" if isinstance(value, dict):
                out[key] = _node(value, defs, f"{path}.*", seen)
            case "default" if value is None:
                continue
            case "description":
                out[key] = " ".join(value.split())
            case k if k in _ALLOWED or k.startswith("x-kubernetes-"):
                out[key] = value
            case _:
                raise ValueError(f"{path}: {key} has no place in a structural schema")
    if "type" not in out and not out.get("x-kubernetes-int-or-string"):
        raise ValueError(f"{path}: no type")
    return out
