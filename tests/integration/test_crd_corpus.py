"""What the API server takes and refuses, and in which words: corpus/*.yaml against the real one."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.kube import Kube
from xdit_api.spec import MUTABLE, Spec

CORPUS = Path(__file__).parent / "corpus"


def load(name: str) -> Any:
    return yaml.safe_load((CORPUS / name).read_text())


def merged(base: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    out = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def dry_run(kube: Kube, verb: str, resource: Any) -> subprocess.CompletedProcess[str]:
    """`kubectl VERB --dry-run=server`: everything the API server does, short of storing."""
    arguments = [verb, "--dry-run=server", "-o", "json", "-f", "-"]
    return kube.run(*arguments, stdin=json.dumps(resource), check=False)


def accepted(kube: Kube, resource: Any) -> Any:
    done = dry_run(kube, "create", resource)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", load("bad.yaml"), ids=lambda case: case["name"].replace(" ", "-"))
def test_bad_resource_is_refused_in_these_words(kube_module: Kube, case: Any) -> None:
    done = dry_run(kube_module, "create", merged(load("minimal.yaml"), case["change"]))
    assert done.returncode != 0, "accepted"
    assert case["says"] in done.stderr, done.stderr


def test_minimal_resource_is_stored_with_the_defaults_of_the_models(kube_module: Kube) -> None:
    stored = accepted(kube_module, load("minimal.yaml"))
    assert stored["spec"] == Spec.model_validate(load("minimal.yaml")["spec"]).dump()
    assert stored["status"] == {"observedGeneration": -1}


def test_full_resource_survives_the_round_trip(kube_module: Kube) -> None:
    stored = accepted(kube_module, load("full.yaml"))
    assert Spec.model_validate(stored["spec"]) == Spec.model_validate(load("full.yaml")["spec"])


def optional_paths(spec: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every path of an object inside `spec`, leaves and branches."""
    out: list[tuple[str, ...]] = []
    for key, value in spec.items():
        out.append((*prefix, key))
        if isinstance(value, dict) and key not in (
            "affinity",
            "nodeSelector",
            "podLabels",
            "podAnnotations",
            "limits",
            "requests",
        ):
            out += optional_paths(value, (*prefix, key))
    return out


def without(resource: Any, path: tuple[str, ...]) -> Any:
    out = copy.deepcopy(resource)
    node = out["spec"]
    for part in path[:-1]:
        node = node[part]
    del node[path[-1]]
    return out


def must_stay(path: tuple[str, ...]) -> bool:
    """Required fields, and degrees whose absence changes the product."""
    required = {
        ("model",), ("model", "id"), ("model", "source"), ("model", "source", "pvc"), ("model", "source", "pvc", "claimName"),
        ("gpus",), ("prompts",), ("prompts", "inline"), ("output",), ("output", "claimName"),
        ("parallelism", "data"), ("parallelism", "ulysses"), ("parallelism", "ring"),
    }  # fmt: skip
    return path in required


@pytest.mark.parametrize("path", [p for p in optional_paths(load("full.yaml")["spec"]) if not must_stay(p)], ids=".".join)
def test_each_optional_field_can_be_left_out(kube_module: Kube, path: tuple[str, ...]) -> None:
    """A CEL rule over an absent field fails with "no such key"; this finds it."""
    accepted(kube_module, without(load("full.yaml"), path))


@pytest.fixture(scope="module")
def stored(kube_module: Kube) -> Any:
    """minimal.yaml, really stored (suspended, so that nothing starts), in a namespace of this module."""
    return kube_module.apply(merged(load("minimal.yaml"), {"spec": {"suspend": True}}))


@pytest.mark.parametrize("case", load("frozen.yaml"), ids=lambda case: case["field"])
def test_frozen_field_cannot_change(kube_module: Kube, stored: Any, case: Any) -> None:
    done = dry_run(kube_module, "apply", merged(merged(load("minimal.yaml"), {"spec": {"suspend": True}}), case["change"]))
    field = case["field"]
    assert f"spec.{field}: Forbidden: spec.{field} is immutable: create a new XDiTInference" in done.stderr


def test_frozen_covers_every_field_that_is_not_mutable() -> None:
    frozen = {case["field"] for case in load("frozen.yaml")}
    assert frozen | set(MUTABLE) == {field.alias for field in Spec.model_fields.values()}


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 3}, {"suspend": False}, {"backoffLimit": 9}, {"failedPromptsLimit": 9}, {"activeDeadlineSeconds": 99},
        {"ttlSecondsAfterFinished": 99}, {"stallSeconds": 99},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_mutable_field_can_change(kube_module: Kube, stored: Any, change: Any) -> None:
    resource = merged(merged(load("minimal.yaml"), {"spec": {"suspend": True}}), {"spec": change})
    done = dry_run(kube_module, "apply", resource)
    assert done.returncode == 0, done.stderr


def test_status_and_metadata_of_a_stored_resource_can_change(kube_module: Kube, stored: Any) -> None:
    """A transition rule over an absent field would refuse every update, the operator's own among them."""
    kube_module.run("annotate", "xdit/minimal", "note=1", "--overwrite")
    kube_module.run("patch", "xdit/minimal", "--subresource=status", "--type=merge", "-p", '{"status":{"gpus":3}}')


def test_explain_reads_like_documentation(kube_module: Kube) -> None:
    """Every field says something."""
    text = kube_module.run("explain", "xdit.spec", "--recursive").stdout
    assert "parallelism" in text
    crd = json.loads(kube_module.run("get", "crd", "xditinferences.xdit.dev", "-o", "json").stdout)
    bare: list[str] = []

    def walk(node: Any, path: str) -> None:
        for name, child in node.get("properties", {}).items():
            where = f"{path}.{name}"
            if not child.get("description"):
                bare.append(where)
            walk(child, where)
            walk(child.get("items", {}), where + "[]")

    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    walk(schema["spec"], "spec")
    walk(schema["status"], "status")
    assert bare == []
