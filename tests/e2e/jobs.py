"""Resources for end-to-end tests: real images, the tiny FLUX, CPU ranks."""

import io
import json
import tarfile
from typing import Any

import numpy as np
from PIL import Image

from tests.support.kube import Kube

RUNTIME = "xdit-runtime:cpu-dev"
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def claim(name: str) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"storageClassName": "shared", "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def tool_pod(name: str, claims: list[str], command: list[str]) -> Any:
    """A pod of the runtime image with each claim mounted under /<claim>."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "tool",
                    "image": RUNTIME,
                    "imagePullPolicy": "IfNotPresent",
                    "command": command,
                    "securityContext": RESTRICTED,
                    "volumeMounts": [{"name": c, "mountPath": f"/{c}"} for c in claims],
                }
            ],
            "volumes": [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims],
        },
    }


def job(name: str, **spec: Any) -> Any:
    """One CPU rank, the tiny FLUX, two small pictures; `spec` replaces whole fields."""
    base: dict[str, Any] = {
        "model": {
            "id": "xdit-dev/tiny-flux",
            "dtype": "float32",
            "source": {"pvc": {"claimName": "models", "path": "tiny-flux"}},
        },
        "gpus": 1,
        "gpuResource": "none",
        "prompts": {"inline": [{"id": "boat", "prompt": "a small red boat"}, {"id": "owl", "prompt": "an owl, reading"}]},
        "defaults": {"width": 256, "height": 256, "steps": 4},
        "output": {"claimName": "pictures"},
        "worker": {"resources": {"requests": {"cpu": "50m", "memory": "512Mi"}, "limits": {"memory": "3Gi"}}},
    }
    return {"apiVersion": "xdit.dev/v1alpha1", "kind": "XDiTInference", "metadata": {"name": name}, "spec": {**base, **spec}}


def condition(resource: Any, kind: str) -> Any:
    return next((c for c in resource.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def holds(resource: Any, kind: str) -> bool:
    return bool(condition(resource, kind).get("status") == "True")


def ended(resource: Any) -> bool:
    return "completionTime" in resource.get("status", {})


class Pictures:
    """The output directory of a job, read through the tools pod."""

    def __init__(self, kube: Kube, path: str, pod: str = "tools") -> None:
        packed = kube.run("exec", pod, "--", "tar", "-C", f"/pictures/{path}", "-c", ".", binary=True).stdout
        self.files: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    self.files[member.name.removeprefix("./")] = content.read()

    def image(self, name: str) -> "np.ndarray[Any, np.dtype[np.int16]]":
        """(height, width, 3), 0…255."""
        return np.asarray(Image.open(io.BytesIO(self.files[f"images/{name}.png"])).convert("RGB")).astype(np.int16)

    @property
    def names(self) -> list[str]:
        return sorted(f.removeprefix("images/").removesuffix(".png") for f in self.files if f.startswith("images/"))

    @property
    def manifest(self) -> list[Any]:
        return [json.loads(line) for line in self.files["manifest.jsonl"].decode().splitlines()]
