"""The CustomResourceDefinition, generated: `xdit-crd > crds/xdit.dev_xditinferences.yaml`."""

import argparse
import sys
from pathlib import Path

import yaml

from xdit_api import GROUP, KIND, PLURAL, SHORT_NAME, VERSION
from xdit_api.base import Json, cel
from xdit_api.schema import structural
from xdit_api.spec import Spec
from xdit_api.status import Status

NAME_LIMIT = 44
"""Longest name of a resource: names of its children and the labels made from them must fit in 52."""

_COLUMNS = (
    ("Phase", "string", ".status.phase", 0, "What it is doing"),
    ("Images", "string", ".status.progress.summary", 0, "Images on the output volume / images asked for"),
    ("S/Image", "string", ".status.progress.secondsPerImage", 0, "Seconds for each image, all replicas together"),
    ("ETA", "string", ".status.progress.eta", 0, "Time until the last image"),
    ("GPUs", "integer", ".status.gpus", 0, "GPUs held now"),
    ("Restarts", "integer", ".status.restarts", 0, "Group restarts"),
    ("Age", "date", ".metadata.creationTimestamp", 0, "Time since it was created"),
    ("Model", "string", ".spec.model.id", 1, "The model"),
    ("Plan", "string", ".status.plan.summary", 1, "Pods and parallel degrees"),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 1, "Why it is or is not ready"),
    ("Finished", "date", ".status.completionTime", 1, "When it ended"),
)


def _without_defaults(node: Json) -> Json:
    """The same schema without defaults: what the operator did not say must not appear in status."""
    out = {key: value for key, value in node.items() if key != "default"}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _without_defaults(out[key])
    if "properties" in out:
        out["properties"] = {name: _without_defaults(child) for name, child in out["properties"].items()}
    return out


def crd() -> Json:
    """The CustomResourceDefinition object."""
    schema: Json = {
        "description": "XDiTInference is one finite batch of images, made by xDiT workers on GPUs.",
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [
            cel(
                f"size(self.metadata.name) <= {NAME_LIMIT}",
                f"metadata.name must have at most {NAME_LIMIT} characters: pods and labels are named after it",
            ),
            cel(
                "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "metadata.name must start with a letter and have only a-z, 0-9 and '-': it becomes a DNS name",
            ),
        ],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(Spec),
            # kstatus takes an object without status for finished, so a new one says that nobody has looked yet
            "status": {**_without_defaults(structural(Status)), "default": {"observedGeneration": -1}},
        },
    }
    columns = [
        {"name": name, "type": kind, "jsonPath": path, "description": text, **({"priority": priority} if priority else {})}
        for name, kind, path, priority, text in _COLUMNS
    ]
    version: Json = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "selectableFields": [{"jsonPath": ".spec.suspend"}, {"jsonPath": ".status.phase"}],
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "xdit-operator"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
                "categories": [SHORT_NAME],
            },
            "versions": [version],
        },
    }


class _Dumper(yaml.SafeDumper):
    """No anchors: kubectl understands them, people do not."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def text() -> str:
    """The CRD as YAML, with a first line that says where it comes from."""
    head = "# Generated from crds/xdit_api by `make generate`; do not edit.\n"
    return head + yaml.dump(crd(), Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


def main() -> None:
    """`xdit-crd [FILE]`: write the CRD to FILE, or to standard output."""
    parser = argparse.ArgumentParser(description=crd.__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="where to write; default: standard output")
    target = parser.parse_args().file
    if target is None:
        sys.stdout.write(text())
    else:
        target.write_text(text())


if __name__ == "__main__":
    main()
