"""The worker pod: Pod Security `restricted`, no token, read-only root."""

from xdit_api import pod
from xdit_api.base import Json
from xdit_operator import names
from xdit_operator.render import environment, placement, volumes
from xdit_operator.render.source import Source

_STAY = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}


def render(source: Source, replica: int, attempt: int) -> Json:
    """`spec.template` of the group. Arguments are the image's own."""
    worker = source.spec.worker
    ours = names.labels(source.name) | {names.LABEL_REPLICA: str(replica), names.LABEL_ATTEMPT: str(attempt)}
    claims = volumes.claims(source)
    spec: Json = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": worker.termination_grace_period_seconds,
        "securityContext": {
            **worker.security_context.dump(),
            "runAsNonRoot": True,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(source, replica, attempt, volumes.mounts(source, claims))],
        "volumes": volumes.volumes(source, claims),
        **placement.render(source.spec.scheduling, names.group_labels(source.name, replica)),
    }
    if worker.service_account_name is not None:
        spec["serviceAccountName"] = worker.service_account_name
    if worker.image_pull_secrets:
        spec["imagePullSecrets"] = [secret.dump() for secret in worker.image_pull_secrets]
    annotations = _STAY | (worker.pod_annotations or {})
    return {"metadata": {"labels": (worker.pod_labels or {}) | ours, "annotations": annotations}, "spec": spec}


def _container(source: Source, replica: int, attempt: int, mounts: list[Json]) -> Json:
    worker = source.spec.worker
    container: Json = {
        "name": names.CONTAINER,
        "image": worker.image or source.settings.worker_image,
        "env": environment.render(source, replica, attempt),
        "ports": [{"name": "http", "containerPort": pod.HTTP_PORT, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": "/healthz", "port": pod.HTTP_PORT},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 5,
        },
        "resources": _resources(source),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": str(pod.TERMINATION_LOG),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    if worker.image_pull_policy is not None:
        container["imagePullPolicy"] = worker.image_pull_policy
    return container


def _resources(source: Source) -> Json:
    asked = source.spec.worker.resources
    out: Json = asked.dump() if asked is not None else {}
    if source.spec.gpu_resource != "none":
        out["limits"] = {**out.get("limits", {}), source.spec.gpu_resource: source.plan.gpus_per_pod}
    return out
