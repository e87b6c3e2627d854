"""What the operator made, and whether it has come to rest."""

import time
from typing import Any

from tests.support.kube import Kube

CHILDREN = ("statefulsets", "services", "configmaps", "networkpolicies")


def children(kube: Kube) -> dict[str, Any]:
    """Kind/name -> object, of everything that the operator made."""
    selector = "app.kubernetes.io/managed-by=xdit-operator"
    return {f"{kind}/{o['metadata']['name']}": o for kind in CHILDREN for o in kube.list(kind, selector)}


def versions(kube: Kube) -> dict[str, str]:
    found = {name: o["metadata"]["resourceVersion"] for name, o in children(kube).items()}
    return found | {"xdit": kube.get("xdit", "posters")["metadata"]["resourceVersion"]}


def settled(kube: Kube, quiet: float = 3.0, deadline: float = 60) -> dict[str, str]:
    """resourceVersions, once they have not moved for `quiet` seconds."""
    end = time.monotonic() + deadline
    before, since = versions(kube), time.monotonic()
    while time.monotonic() - since < quiet:
        assert time.monotonic() < end, "never came to rest"
        time.sleep(0.5)
        now = versions(kube)
        if now != before:
            before, since = now, time.monotonic()
    return before
