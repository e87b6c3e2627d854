"""Resources for tests of the operator alone: the stand-in worker, CPU ranks, a few empty images."""

import json
from collections.abc import Callable
from typing import Any

from tests.support.kube import Kube
from tests.support.pods import claim

IMAGE = "xdit-standin:dev"


def claims() -> list[Any]:
    return [claim("models"), claim("pictures")]


def job(name: str = "posters", *, standin: dict[str, Any] | None = None, images: int = 4, **spec: Any) -> Any:
    """One replica of one pod; `standin` steers the worker (tests/integration/standin), `spec` replaces whole fields."""
    base: dict[str, Any] = {
        "model": {"id": "xdit-dev/tiny-flux", "source": {"pvc": {"claimName": "models"}}},
        "gpus": 1,
        "gpuResource": "none",
        "prompts": {"inline": [{"id": f"p{number}", "prompt": f"prompt {number}"} for number in range(images)]},
        "output": {"claimName": "pictures"},
        "worker": {
            "image": IMAGE,
            "env": [{"name": "STANDIN", "value": json.dumps(standin or {})}],
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
            "terminationGracePeriodSeconds": 5,
        },
    }
    return {"apiVersion": "xdit.dev/v1alpha1", "kind": "XDiTInference", "metadata": {"name": name}, "spec": {**base, **spec}}


def status(resource: Any) -> Any:
    return resource.get("status", {})


def condition(resource: Any, kind: str) -> Any:
    return next((c for c in status(resource).get("conditions", []) if c["type"] == kind), {})


def phase(*wanted: str) -> Callable[[Any], bool]:
    return lambda resource: status(resource).get("phase") in wanted


def stalled(reason: str) -> Callable[[Any], bool]:
    def holds(resource: Any) -> bool:
        found = condition(resource, "Stalled")
        return bool(found.get("status") == "True" and found["reason"] == reason)

    return holds


def ended(resource: Any) -> bool:
    return "completionTime" in status(resource)


def pods(kube: Kube, name: str = "posters") -> Any:
    return kube.list("pods", f"xdit.dev/name={name}")


def no_pods(kube: Kube, name: str = "posters", deadline: float = 60) -> None:
    kube.wait_gone("pods", selector=f"xdit.dev/name={name}", deadline=deadline)
