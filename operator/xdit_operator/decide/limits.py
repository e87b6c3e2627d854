"""Bounds after which the job fails."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from xdit_api.report import Counts
from xdit_operator import clock
from xdit_operator.decide import completion, restart
from xdit_operator.decide.types import Failure, Outcome
from xdit_operator.observe import Snapshot


def failed_prompts(s: Snapshot) -> Outcome | None:
    """More failed prompts in the ledger than failedPromptsLimit."""
    counts: list[Counts | None] = [completion.drained_counts(s)]
    counts += [poll.progress.counts for poll in s.polls.values() if poll.progress is not None]
    known = s.status.progress.failed if s.status.progress is not None else 0
    failed = max([known, *(c.failed for c in counts if c is not None)])
    if failed <= s.spec.failed_prompts_limit:
        return None
    return Outcome(
        False,
        "FailedPromptsLimitExceeded",
        f"{failed} prompts failed, more than failedPromptsLimit {s.spec.failed_prompts_limit}; failed.jsonl beside the images "
        "says which and why",
    )


def permanent(failures: Mapping[int, Failure]) -> Outcome | None:
    """An exit code that the same input gives again."""
    found = sorted((f for f in failures.values() if 64 <= f.exit_code <= 79), key=lambda f: f.time)
    return Outcome(False, found[0].reason, found[0].describe()) if found else None


def backoff(s: Snapshot, failures: Mapping[int, Failure]) -> Outcome | None:
    """A replica whose restarts are used up."""
    for replica, failure in sorted(failures.items()):
        restarts = restart.remembered(s, replica).restarts
        if restarts >= s.spec.backoff_limit:
            used = f"replica {replica} was restarted {restarts} times (backoffLimit {s.spec.backoff_limit})"
            return Outcome(False, "BackoffLimitExceeded", f"{used}; the last failure: {failure.describe()}")
    return None


def active_seconds(s: Snapshot) -> int:
    """Seconds that pods were wanted so far."""
    since = clock.read(s.status.active_since)
    return s.status.active_seconds + (max(0, int((s.now - since).total_seconds())) if since is not None else 0)


def deadline(s: Snapshot) -> Outcome | None:
    """activeDeadlineSeconds, which stands still while suspended."""
    limit = s.spec.active_deadline_seconds
    if limit is None or active_seconds(s) < limit:
        return None
    return Outcome(False, "DeadlineExceeded", f"active for {active_seconds(s)} s, activeDeadlineSeconds is {limit}")


def deadline_at(s: Snapshot) -> tuple[datetime, ...]:
    """When the deadline passes, while time counts."""
    limit, since = s.spec.active_deadline_seconds, clock.read(s.status.active_since)
    if limit is None or since is None:
        return ()
    return (since + timedelta(seconds=limit - s.status.active_seconds),)
