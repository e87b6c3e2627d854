"""Whether a live object still is what was applied."""

import hashlib
import json
from decimal import Decimal
from typing import Any

from xdit_api.base import Json
from xdit_operator.names import ANNOTATION_HASH

_KEYS = ("name", "mountPath", "containerPort", "uid", "port")
"""Fields by which Kubernetes tells list items apart."""
_QUANTITIES = frozenset(["limits", "requests", "sizeLimit"])
_SUFFIXES = {
    "m": Decimal("0.001"), "": Decimal(1), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "P": Decimal(10**15), "E": Decimal(10**18), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30),
    "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip


def digest(manifest: Json) -> str:
    """Short hash of a manifest; `spec.replicas` is left out, for it changes while the rest must not."""
    spec = manifest.get("spec")
    kept = {**manifest, "spec": {k: v for k, v in spec.items() if k != "replicas"}} if isinstance(spec, dict) else manifest
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def sealed(manifest: Json) -> Json:
    """The manifest with its own hash in an annotation."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), ANNOTATION_HASH: digest(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def seal(live: Json) -> str:
    """The hash in a live object's annotation; empty when it has none."""
    return str((live["metadata"].get("annotations") or {}).get(ANNOTATION_HASH, ""))


def differs(desired: Json, live: Json) -> bool:
    """Whether something that is asked for is not so in the live object. What others added does not count."""
    return not _within(desired, live, False)


def _within(desired: Any, live: Any, quantity: bool) -> bool:  # noqa: ANN401  any JSON value
    if isinstance(desired, dict):
        return isinstance(live, dict) and all(
            key in live and _within(value, live[key], quantity or key in _QUANTITIES) for key, value in desired.items()
        )
    if isinstance(desired, list):
        return isinstance(live, list) and _list_within(desired, live, quantity)
    if quantity and isinstance(live, str | int):
        return amount(desired) == amount(live)
    return bool(desired == live)


def _list_within(desired: list[Any], live: list[Any], quantity: bool) -> bool:
    key = next((k for k in _KEYS if desired and all(isinstance(d, dict) and k in d for d in desired)), None)
    if key is None:
        return len(desired) == len(live) and all(_within(d, found, quantity) for d, found in zip(desired, live, strict=True))
    return all(
        any(isinstance(found, dict) and found.get(key) == d[key] and _within(d, found, quantity) for found in live)
        for d in desired
    )


def amount(quantity: str | int) -> Decimal | str:
    """A Kubernetes quantity as a number, so that 1024Mi equals 1Gi; the text itself when it is none."""
    text = str(quantity)
    digits = text.rstrip("mkKMGTPEi")
    factor = _SUFFIXES.get(text[len(digits) :])
    if factor is None or not digits.replace(".", "", 1).isdecimal():
        return text
    return Decimal(digits) * factor
