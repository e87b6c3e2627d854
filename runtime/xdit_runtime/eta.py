"""When the whole job will be done, from how its counts grew. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

WINDOW = 600.0
"""Seconds of the past that count."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Moments at which the number of finished images was seen to change: (monotonic seconds, images), oldest first."""

    edges: tuple[tuple[float, int], ...] = ()
    last: int | None = None

    def saw(self, now: float, completed: int) -> "Pace":
        """With one more look at the counts. The first look is no edge: what was there took an unknown time."""
        if completed == self.last:
            return self
        if self.last is None or completed < self.last:
            return Pace((), completed)
        kept = [edge for edge in self.edges if now - edge[0] <= WINDOW]
        return Pace((*kept, (now, completed)), completed)

    @property
    def seconds(self) -> float | None:
        """Per image, all replicas together; None before there is a distance between two edges."""
        if len(self.edges) < 2:
            return None
        (began, first), (ended, last) = self.edges[0], self.edges[-1]
        return (ended - began) / (last - first)


def seconds_left(left: int, pace: Pace, lanes: Iterable[float | None]) -> float | None:
    """Until `left` more images are made. lanes: seconds per image of this pod's lanes, for the first minutes."""
    if left <= 0:
        return 0.0
    rate = sum(1 / seconds for seconds in lanes if seconds)
    each = pace.seconds or (1 / rate if rate else None)
    return None if each is None else round(left * each, 1)
