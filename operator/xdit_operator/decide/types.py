"""What is decided."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of the job."""

    complete: bool
    """True: all images are written; False: failed."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a group's attempt ended."""

    replica: int
    pod: str
    node: str
    rank: int | None
    exit_code: int
    reason: str
    message: str
    log_path: str
    time: datetime

    def describe(self) -> str:
        """'pod a-0-0: CudaError: …'."""
        return f"pod {self.pod}: {self.reason}" + (f": {self.message}" if self.message else "")


@dataclass(frozen=True, slots=True)
class Turn:
    """What happens with one replica next."""

    index: int
    attempt: int
    """Number of the attempt that runs or comes next; status says it before pods are touched."""
    up: bool
    """Whether its pods are wanted now."""
    phase: str
    """As in ReplicaStatus.phase."""
    restarts: int = 0
    """Charged to backoffLimit."""
    next_restart: datetime | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The whole answer for one snapshot."""

    turns: tuple[Turn, ...]
    outcome: Outcome | None = None
    failure: Failure | None = None
    """Failure that was seen now, for status.firstFailure."""
    suspended: bool = False
    leftover: tuple[int, ...] = ()
    """Replicas that are no longer asked for: scaled to 0, then deleted."""
    wake: tuple[datetime, ...] = ()
    """Times at which to decide again, whatever happens."""
