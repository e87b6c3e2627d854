"""How a pod's first life ends, as a value: what the supervisor's parts return or raise."""

from dataclasses import dataclass
from datetime import UTC, datetime

from xdit_api.report import Counts, Exit, Outcome, Result
from xdit_runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an attempt as this pod saw it."""

    outcome: Outcome
    exit: Exit
    message: str
    rank: int | None = None
    """The rank that failed first."""
    counts: Counts | None = None


class RefusedError(Exception):
    """The attempt cannot start or go on; carries its ending."""

    def __init__(self, exit: Exit, message: str) -> None:
        super().__init__(message)
        self.ending = Ending("failed", exit, message)


class StopRequestedError(Exception):
    """SIGTERM came before there was any work to stop."""


def failed(exit: Exit, message: str, rank: int | None = None) -> Ending:
    """A failure."""
    return Ending("failed", exit, message, rank)


def result_of(ending: Ending, settings: Settings, job_uid: str, log_path: str, now: datetime | None = None) -> Result:
    """The report that operator and users read."""
    time = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    reason = {"drained": "Drained", "idle": "Idle"}.get(ending.outcome, ending.exit.reason)
    return Result(
        outcome=ending.outcome,
        exit_code=int(ending.exit),
        reason=reason,
        message=ending.message,
        job_uid=job_uid,
        replica=settings.replica,
        attempt=settings.attempt,
        pod=settings.pod,
        rank=ending.rank,
        time=time,
        counts=ending.counts,
        log_path=log_path,
    )
