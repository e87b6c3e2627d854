"""Starting (scheduling, pulling, loading) or Running (generating)."""

from xdit_api.status import ReplicaStatus
from xdit_operator.observe import Group, Poll, Snapshot

SILENT_POLLS = 3
"""A leader whose pods are ready and that did not answer this often is taken for running, with unknown progress."""
_AT_WORK = ("Generating", "Draining", "Done")


def state(s: Snapshot, group: Group, old: ReplicaStatus) -> tuple[str, str]:
    """Phase and message of a replica whose pods are wanted."""
    blocked = _blocked(s, group)
    if blocked:
        return "Starting", blocked
    pods = s.plan.pods if s.plan is not None else group.wanted
    ready = sum(pod.ready for pod in group.pods)
    if ready < pods and not _same_pods(group, old):
        return "Starting", ""
    poll = s.polls.get(group.replica)
    if poll is not None and poll.attempt == group.attempt and poll.progress is not None:
        lanes = poll.progress.lanes
        if poll.progress.phase in ("Finished", "Parked") or any(lane.phase in _AT_WORK or lane.completed for lane in lanes):
            return "Running", ""
    if old.phase == "Running" and old.attempt == group.attempt and _same_pods(group, old):
        return "Running", "progress is unknown: the leader does not answer" if _silent(poll) else ""
    if ready == pods and _silent(poll):
        return "Running", "progress is unknown: the leader does not answer"
    return "Starting", ""


def _silent(poll: Poll | None) -> bool:
    return poll is not None and poll.failures >= SILENT_POLLS


def _same_pods(group: Group, old: ReplicaStatus) -> bool:
    return bool(group.pods) and [pod.uid for pod in group.pods] == old.pod_uids


def _blocked(s: Snapshot, group: Group) -> str:
    """Why a pod does not start, in Kubernetes' words."""
    waiting = next((f"pod {p.name}: {p.waiting[1] or p.waiting[0]}" for p in group.pods if p.waiting is not None), "")
    return s.create_failures.get(group.replica, "") or waiting


def waiting_reason(s: Snapshot, group: Group) -> tuple[str, str] | None:
    """(reason, message) for the Ready condition when a pod of the group cannot start."""
    if group.replica in s.create_failures:
        message = s.create_failures[group.replica]
        return ("QuotaExceeded" if "exceeded quota" in message else "FailedCreate"), message
    for pod in group.pods:
        if pod.waiting is not None:
            reason, message = pod.waiting
            # the scheduler names the resource that is short: "0/3 nodes are available: 3 Insufficient nvidia.com/gpu"
            short = reason == "Unschedulable" and f"Insufficient {s.spec.gpu_resource}" in message
            return "WaitingForGPUs" if short else reason, f"pod {pod.name}: {message}"
    return None
