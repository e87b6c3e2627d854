"""Small pods that satisfy Pod Security `restricted`."""

from collections.abc import Mapping, Sequence
from typing import Any

PYTHON_IMAGE = "local/debian:bookworm-python"
POD_SECURITY = {
    "runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def pod(
    name: str,
    command: Sequence[str],
    *,
    image: str = PYTHON_IMAGE,
    labels: Mapping[str, str] | None = None,
    claims: Sequence[str] = (),
    node: str = "",
    resources: Mapping[str, Any] | None = None,
) -> Any:
    """A pod that runs `command` once, as uid 1000, each claim mounted under /CLAIM; on `node` if given."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": pod_spec(command, image=image, claims=claims, node=node, resources=resources) | {"restartPolicy": "Never"},
    }


def pod_spec(
    command: Sequence[str],
    *,
    image: str = PYTHON_IMAGE,
    claims: Sequence[str] = (),
    node: str = "",
    resources: Mapping[str, Any] | None = None,
) -> Any:
    """The spec of such a pod, for a pod template."""
    # a selector rather than nodeName: volumes that wait for their first consumer need the scheduler
    where = {"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}
    return {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "containers": [
            {
                "name": "main",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": list(command),
                "securityContext": CONTAINER_SECURITY,
                "resources": dict(resources or {}),
                "volumeMounts": [{"name": claim, "mountPath": f"/{claim}"} for claim in claims],
            }
        ],
        "volumes": [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims],
        **where,
    }


def claim(name: str, storage_class: str | None = "shared", mode: str = "ReadWriteMany", size: str = "1Gi") -> Any:
    """A PersistentVolumeClaim; by default of the class that all nodes share. None = the cluster's default class."""
    spec: dict[str, Any] = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
