"""One lane of this pod through its lives: started, ended, started again after a failure, given up."""

import dataclasses
from collections.abc import Callable, Sequence

from xdit_api.report import LanePhase
from xdit_runtime import handshake, lanes, restarts
from xdit_runtime.ending import Ending
from xdit_runtime.state import LaneState


class Keeper:
    """What the supervisor knows of one lane in this attempt."""

    def __init__(self, index: int, start: Callable[[int], lanes.Lane], limit: int, backoff: float) -> None:
        """start: starts a life of the lane, from 0. limit, backoff: see xdit_runtime.restarts.wait."""
        self._index = index
        self._start = start
        self._limit = limit
        self._backoff = backoff
        self._record = restarts.Record()
        self._first: Ending | None = None
        self._lives = 0
        self._made = 0
        self._due: float | None = None
        self._last: lanes.Lane | None = None
        self.lane: lanes.Lane | None = None
        """The life that runs now."""
        self.ending: Ending | None = None
        """How the lane ended, once it does no more."""

    def start(self) -> None:
        """Begin a life. Call it from the main thread."""
        self._made += self._images()
        self.lane = self._last = self._start(self._lives)
        self._lives += 1
        self._due = None

    def start_if_due(self, now: float) -> bool:
        """Begin the next life when its time has come."""
        if self._due is None or now < self._due:
            return False
        self.start()
        return True

    def failed(self, ending: Ending, claims: Sequence[str], now: float) -> float | None:
        """The life has ended badly and its processes are gone. Seconds until the next one; None when there is none.

        claims: those that the failure counts against. now: monotonic seconds.
        """
        made = self._images()
        self.lane = None
        if made or self._first is None:
            self._first = ending
        self._record = restarts.after(self._record, ending.exit, made, claims)
        wait = restarts.wait(self._record, self._limit, self._backoff)
        if wait is None:
            # the first of a row of failures is the cause; later ones can be its echo
            tried = self._lives - 1
            note = f" (the lane gave up after {tried} restart{'s' * (tried > 1)})" if tried else ""
            self.ending = dataclasses.replace(self._first, message=self._first.message + note)
            return None
        self._due = now + wait
        return wait

    def end(self, ending: Ending) -> None:
        """The lane does no more."""
        self.lane = self._due = None
        self.ending = ending

    def kill(self) -> bool:
        """End the present life's processes; False when one of them stays."""
        return self.lane is None or self.lane.kill()

    @property
    def waiting(self) -> bool:
        """Whether its next life is due later."""
        return self._due is not None

    def state(self) -> LaneState | None:
        """For /progress; None before the first life."""
        if self._last is None:
            return None
        phase: LanePhase | None = "Restarting" if self._due is not None else None
        if self.ending is not None and self.ending.outcome == "failed":
            phase = "GaveUp"
        return LaneState(self._index, self._last.dir, phase, max(0, self._lives - 1), self._made)

    def _images(self) -> int:
        """Made by the present or last life."""
        said = None if self._last is None else handshake.progress(self._last.dir)
        return 0 if said is None else said[0].completed
