"""What the leaders of running replicas answered last. Memory only: a new operator asks again."""

from xdit_api.report import Progress
from xdit_operator.observe import Poll


class Polls:
    """Answers by resource uid and replica."""

    def __init__(self) -> None:
        self._found: dict[str, dict[int, Poll]] = {}

    def of(self, uid: str) -> dict[int, Poll]:
        """By replica."""
        return dict(self._found.get(uid, {}))

    def answered(self, uid: str, replica: int, progress: Progress) -> bool:
        """Keep an answer. Returns whether it says something new."""
        known = self._found.setdefault(uid, {})
        before = known.get(replica)
        known[replica] = Poll(progress.attempt, progress)
        return before is None or before.progress != progress

    def silent(self, uid: str, replica: int, attempt: int) -> bool:
        """Count a missing answer; what an attempt said before stays. Returns whether anybody should know."""
        known = self._found.setdefault(uid, {})
        before = known.get(replica)
        if before is None or before.attempt != attempt:
            before = Poll(attempt, None)
        known[replica] = Poll(attempt, before.progress, before.failures + 1)
        return before.progress is None and before.failures < 10

    def forget(self, uid: str) -> None:
        """The resource is gone."""
        self._found.pop(uid, None)
