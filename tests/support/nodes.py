"""The cluster's nodes: pretended GPUs, power switch."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from tests.support.kube import Kube


def nodes(kube: Kube) -> Sequence[str]:
    """Names of all nodes."""
    return [node["metadata"]["name"] for node in kube.list("nodes")]


def ready_nodes(kube: Kube) -> Sequence[str]:
    """Names of the nodes that are Ready."""

    def is_ready(node: Any) -> bool:
        return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])

    return [node["metadata"]["name"] for node in kube.list("nodes") if is_ready(node)]


def fake_gpus(kube: Kube, node: str, count: int, resource: str = "nvidia.com/gpu") -> None:
    """Let `node` say that it has `count` GPUs (0 = take them away again). Survives a restart of the node.

    The scheduler counts them like real ones; a pod that asks for them gets no device.
    """
    path = resource.replace("~", "~0").replace("/", "~1")
    have = kube.get("node", node)["status"]["capacity"]
    if count:
        change = [{"op": "add", "path": f"/status/{where}/{path}", "value": str(count)} for where in ("capacity", "allocatable")]
    elif resource in have:
        change = [{"op": "remove", "path": f"/status/{where}/{path}"} for where in ("capacity", "allocatable")]
    else:
        return
    kube.run("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(change))


def stop_node(node: str) -> None:
    """Power off: the node turns NotReady after about 50 s."""
    subprocess.run(["docker", "stop", "--time", "1", node], check=True, capture_output=True, timeout=60)


def start_node(node: str) -> None:
    """Power on: Ready after 2–3 s, traffic back after 11–16 s."""
    subprocess.run(["docker", "start", node], check=True, capture_output=True, timeout=60)
