"""Images of the whole job, as the workers read them from the output volume. Shown numbers never go back."""

from collections.abc import Iterable

from xdit_api.report import Counts, Progress
from xdit_api.status import Phase, ProgressStatus
from xdit_operator.decide import Decision, completion
from xdit_operator.observe import Snapshot
from xdit_operator.text import duration


def build(s: Snapshot, d: Decision, phase: Phase) -> ProgressStatus | None:
    """None until the number of images is known."""
    old = s.status.progress
    counts = [poll.progress.counts for poll in s.polls.values() if poll.progress is not None]
    running = [(s.polls.get(turn.index), turn.attempt) for turn in d.turns if turn.phase == "Running"]
    answers = [poll.progress for poll, attempt in running if poll and poll.progress and poll.attempt == attempt]
    final = completion.drained_counts(s)
    counts += [final] if final is not None else []
    total = max((c.total for c in counts), default=0) or (old.total if old is not None else 0) or s.total
    if not total:
        return old
    completed = _highest(counts, "completed", old.completed if old is not None else 0)
    left = max(0, total - completed)
    # replicas that find nothing more to claim leave before the last image is done: the rate of the others is not the job's
    pace = _pace(answers) if phase == "Running" and left else None
    if pace is None and phase == "Running" and not answers and old is not None:
        # nobody was asked yet, right after a start of the operator: what was shown stays
        return old
    eta = round(left * pace) if pace is not None else None
    return ProgressStatus(
        total=total,
        completed=completed,
        failed=_highest(counts, "failed", old.failed if old is not None else 0),
        skipped=_highest(counts, "skipped", old.skipped if old is not None else 0),
        summary=f"{completed}/{total}",
        seconds_per_image=_seconds(pace) if pace is not None else old.seconds_per_image if old is not None else None,
        images_per_hour=round(3600 / pace) if pace is not None else None,
        eta_seconds=eta,
        eta=duration(eta) if eta is not None else None,
    )


def _highest(counts: Iterable[Counts], field: str, shown: int) -> int:
    return max([shown, *(int(getattr(c, field)) for c in counts)])


def _pace(answers: Iterable[Progress]) -> float | None:
    """Seconds for each image, all lanes of all replicas together."""
    lanes = [lane.seconds_per_image for answer in answers for lane in answer.lanes]
    rate = sum(1 / seconds for seconds in lanes if seconds)
    return 1 / rate if rate else None


def _seconds(pace: float) -> str:
    return f"{pace:.2f}" if pace < 100 else f"{pace:.0f}"
