"""The CRD in the repository is the one that the models generate."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from xdit_api import reference
from xdit_api.base import Json, Model
from xdit_api.crd import crd, text
from xdit_api.schema import structural

ROOT = Path(__file__).parents[3]


def test_crd_file_is_generated_from_the_models() -> None:
    assert (ROOT / "crds/xdit.dev_xditinferences.yaml").read_text() == text(), "run `make generate`"


def test_everything_is_bounded() -> None:
    """CEL cost and hostile input: no string, list or map without a limit, no number without a range or format."""
    loose: list[str] = []

    def walk(node: Json, path: str) -> None:
        kind = node.get("type")
        bounded = {
            "string": ("maxLength", "enum", "format", "pattern"),
            "array": ("maxItems",),
            "integer": ("format",),
            "number": ("format",),
        }
        if kind in bounded and not any(key in node for key in bounded[kind]):
            loose.append(path)
        if "additionalProperties" in node and "maxProperties" not in node:
            loose.append(path)
        for name, child in node.get("properties", {}).items():
            walk(child, f"{path}.{name}")
        for key in ("items", "additionalProperties"):
            if isinstance(node.get(key), dict):
                walk(node[key], f"{path}[]")

    properties = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    walk(properties["spec"], "spec")
    walk(properties["status"], "status")
    assert loose == []


def test_status_has_no_defaults_but_the_generation() -> None:
    """A default in status would appear in objects as if the operator had said it."""
    status = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}
    assert "default" not in str(status["properties"])


class _Tree(Model):
    children: list["_Tree"] = []


class _Union(BaseModel):
    value: int | list[str]


@pytest.mark.parametrize(("model", "says"), [(_Tree, "recursive model _Tree"), (_Union, "_Union.value: anyOf has no place")])
def test_what_a_crd_cannot_express_is_refused_by_path(model: type[BaseModel], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        structural(model)


def test_reference_pages_are_generated_from_the_models() -> None:
    assert (ROOT / "docs/api.md").read_text() == reference.text(), "run `make generate`"
    assert (ROOT / "docs/exit-codes.md").read_text() == reference.exit_codes(), "run `make generate`"
