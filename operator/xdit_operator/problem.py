"""Why a job cannot go on now."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason that is not the end of the job."""

    reason: str
    """CamelCase word of the conditions."""
    message: str
    """What is wrong and what would work."""
    retry_after: float | None = None
    """Seconds until it is looked at again without an event; None: only when something changes."""
    waiting: bool = False
    """True: it passes by itself (Reconciling); False: somebody must act (Stalled)."""
