"""When the job is done: a worker read the whole ledger and found nothing left. Nobody sums counters of pods."""

from xdit_api.report import Counts
from xdit_api.status import Status
from xdit_operator.decide.types import Outcome
from xdit_operator.observe import Snapshot


def ended(status: Status) -> Outcome | None:
    """The end that was written before."""
    for condition in status.conditions:
        if condition.type in ("Complete", "Failed") and condition.status == "True":
            return Outcome(condition.type == "Complete", condition.reason, condition.message)
    return None


def drained_replicas(s: Snapshot) -> frozenset[int]:
    """Replicas of which a pod reported the whole job drained."""
    return frozenset(g.replica for g in s.groups if any(_drained(p.end.result.outcome) for p in g.pods if p.end and p.end.result))


def drained_counts(s: Snapshot) -> Counts | None:
    """The counts that came with the report."""
    ends = [p.end for g in s.groups for p in g.pods if p.end is not None]
    found = (e.result.counts for e in ends if e.result is not None and _drained(e.result.outcome))
    return next((counts for counts in found if counts is not None), None)


def drained(s: Snapshot) -> Outcome | None:
    """Complete, unless more prompts failed than may."""
    if not drained_replicas(s):
        return None
    counts = drained_counts(s)
    if counts is not None and counts.failed > s.spec.failed_prompts_limit:
        return None
    return Outcome(True, "AllImagesWritten", _message(s, counts))


def _drained(outcome: str) -> bool:
    return outcome == "drained"


def _message(s: Snapshot, counts: Counts | None) -> str:
    path = s.plan.volume_path if s.plan is not None else s.spec.output.path or s.resource.name
    where = f"on claim {s.spec.output.claim_name} in {path}"
    if counts is None:
        return f"all images are {where}"
    failed = f"; {counts.failed} prompts failed, see failed.jsonl there" if counts.failed else ""
    return f"{counts.completed} of {counts.total} images are {where}{failed}"
