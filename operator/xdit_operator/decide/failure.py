"""Which end of which pod is the cause. One failed rank makes its peers fail too; those are echoes."""

from datetime import datetime, timedelta

from xdit_api.report import Exit
from xdit_operator.decide.types import Failure
from xdit_operator.observe import End, Group, Pod

PATIENCE = timedelta(seconds=10)
"""How long the other pods of a group may take to end before the cause is picked."""


def cause(group: Group, now: datetime) -> Failure | datetime | None:
    """The failure that ended the group's attempt; a time to look again while others are still ending; None when none failed.

    Pods that are being deleted do not count: their StatefulSet replaces them.
    """
    counted = [p for p in group.pods if p.attempt == group.attempt and not p.deleting and p.phase != "Failed"]
    failures = [_failure(group, pod, pod.end) for pod in counted if pod.end is not None and _failed(pod.end)]
    if not failures:
        return None
    first = min(f.time for f in failures)
    best = min(failures, key=_rank)
    all_ended = all(pod.end is not None for pod in counted)
    if all_ended or _rank(best)[0] == 0 or now - first >= PATIENCE:
        return best
    return first + PATIENCE


def _failed(end: End) -> bool:
    return end.result is None or end.result.outcome in ("failed", "stopped") or end.exit_code != 0


def _rank(failure: Failure) -> tuple[int, datetime, str]:
    code = failure.exit_code
    if 64 <= code <= 79:
        rank = 0
    elif 80 <= code <= 99:
        rank = 1
    elif failure.reason == Exit.OUT_OF_MEMORY.reason:
        rank = 2
    elif code in (Exit.PEER_LOST, Exit.PEERS_UNREACHABLE):
        rank = 5
    elif code == Exit.STOPPED:
        rank = 4
    else:
        rank = 3
    return rank, failure.time, failure.pod


def _failure(group: Group, pod: Pod, end: End) -> Failure:
    result = end.result
    if result is not None:
        reason, message, rank, log_path = result.reason, result.message, result.rank, result.log_path
    else:
        # no report: killed from outside, or not our image; with FallbackToLogsOnError the message is the log's tail
        reason = Exit.OUT_OF_MEMORY.reason if end.reason == "OOMKilled" else _word(end)
        message = end.message.strip() or f"the container ended with {end.reason or 'no reason'} and wrote no report"
        rank, log_path = None, ""
    return Failure(group.replica, pod.name, pod.node, rank, end.exit_code, reason, message, log_path, end.finished)


def _word(end: End) -> str:
    if end.exit_code == 0:
        return "NoResult"
    try:
        return Exit(end.exit_code).reason
    except ValueError:
        return Exit.WORKER_FAILED.reason
