"""Volumes of the worker and where they are mounted (xdit_api.pod)."""

from dataclasses import dataclass

from xdit_api import pod
from xdit_api.base import Json
from xdit_operator import names
from xdit_operator.render.source import Source


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim, mounted in one or several places."""

    volume: str
    """Name of the volume: its first role."""
    read_only: bool
    """Whether no role writes."""


def claims(source: Source) -> dict[str, Claim]:
    """Claim name -> volume. A claim with two roles is one volume: the same claim must not be attached twice."""
    spec = source.spec
    roles: list[tuple[str, str, bool]] = []
    if spec.output.claim_name is not None:
        roles.append((spec.output.claim_name, "outputs", False))
    if spec.model.source.pvc is not None:
        roles.append((spec.model.source.pvc.claim_name, "models", True))
    if spec.prompts.volume is not None:
        roles.append((spec.prompts.volume.claim_name, "prompts", True))
    out: dict[str, Claim] = {}
    for name, role, read_only in roles:
        first = out.get(name)
        out[name] = Claim(role, read_only) if first is None else Claim(first.volume, first.read_only and read_only)
    return out


def volumes(source: Source, found: dict[str, Claim]) -> list[Json]:
    """`volumes` of the pod."""
    out: list[Json] = [
        {"name": "job", "configMap": {"name": names.job_config_map(source.name)}},
        *({"name": c.volume, "persistentVolumeClaim": _claim(name, c)} for name, c in found.items()),
        {"name": "life", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "cache", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": source.plan.shm_size}},
    ]
    prompts = source.spec.prompts.config_map
    if prompts is not None:
        item = {"key": prompts.key, "path": prompts.key}
        out.append({"name": "prompts", "configMap": {"name": prompts.name, "items": [item]}})
    return out


def mounts(source: Source, found: dict[str, Claim]) -> list[Json]:
    """`volumeMounts` of the container."""
    spec = source.spec
    out: list[Json] = [{"name": "job", "mountPath": str(pod.JOB_FILE.parent), "readOnly": True}]
    if spec.prompts.config_map is not None:
        out.append({"name": "prompts", "mountPath": str(pod.PROMPTS_DIR), "readOnly": True})
    if spec.prompts.volume is not None:
        volume = found[spec.prompts.volume.claim_name].volume
        out.append({"name": volume, "mountPath": str(pod.PROMPTS_DIR), "readOnly": True})
    if spec.model.source.pvc is not None:
        volume = found[spec.model.source.pvc.claim_name].volume
        out.append({"name": volume, "mountPath": str(pod.MODEL_DIR), "readOnly": True})
    if spec.output.claim_name is not None:
        out.append({"name": found[spec.output.claim_name].volume, "mountPath": str(pod.OUTPUT_DIR)})
    return [
        *out,
        {"name": "life", "mountPath": str(pod.LIFE_DIR)},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  a path in the pod
        {"name": "cache", "mountPath": str(pod.CACHE_DIR)},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108  a path in the pod
    ]


def _claim(name: str, claim: Claim) -> Json:
    return {"claimName": name, "readOnly": True} if claim.read_only else {"claimName": name}
