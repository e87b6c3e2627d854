"""Environment of the worker: rendezvous first, so that users' variables may refer to it."""

from xdit_api import pod
from xdit_api.base import Json
from xdit_operator import names
from xdit_operator.render.source import Source

_RANK = {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}


def render(source: Source, replica: int, attempt: int) -> list[Json]:
    """`env` of the container. PET_* are the same values, so that a bare `torchrun script.py` works in the pod."""
    rendezvous: list[Json] = [
        {"name": pod.ENV_MASTER_ADDR, "value": names.leader_host(source.name, replica)},
        {"name": pod.ENV_MASTER_PORT, "value": str(pod.MASTER_PORT)},
        {"name": pod.ENV_NNODES, "value": str(source.plan.pods)},
        {"name": pod.ENV_NODE_RANK, "valueFrom": _RANK},
        {"name": pod.ENV_NPROC_PER_NODE, "value": str(source.plan.gpus_per_pod)},
    ]
    ours = [
        *rendezvous,
        *({**variable, "name": f"PET_{variable['name']}"} for variable in rendezvous),
        {"name": pod.ENV_JOB, "value": str(pod.JOB_FILE)},
        {"name": pod.ENV_REPLICA, "value": str(replica)},
        {"name": pod.ENV_ATTEMPT, "value": str(attempt)},
        {"name": pod.ENV_POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": pod.ENV_POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
    ]
    users = [variable.dump() for variable in source.spec.worker.env or []]
    offline = {"name": "HF_HUB_OFFLINE", "value": "1"}
    return [*ours, *([] if any(v["name"] == offline["name"] for v in users) else [offline]), *users]
