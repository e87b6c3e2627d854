"""Heartbeats of lanes: a counter in a file, and how others find that it stands still.

Only the observer's own monotonic clock counts: clocks of nodes may differ, and a file's times are the server's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xdit_runtime.ledger.owner import Owner
from xdit_runtime.volume import create_exclusive, guarded

Clock = Callable[[], float]
BEAT_SECONDS = 5.0
"""Beats that come faster are not written."""


@dataclass(frozen=True, slots=True)
class _Sight:
    value: bytes
    since: float
    moved: bool


class Heart:
    """The counter of one incarnation. The file says '<uid of the resource> <counter>'."""

    def __init__(self, path: Path, job_uid: str, clock: Clock) -> None:
        self._path = path
        self._job_uid = job_uid
        self._clock = clock
        self._count = 0
        self._written = clock()

    def start(self) -> bool:
        """Create the file; False when an incarnation of that name exists."""
        return create_exclusive(self._path, self._text())

    def beat(self) -> None:
        """The lane has moved. Raises OutputVolumeError."""
        now = self._clock()
        if now - self._written < BEAT_SECONDS:
            return
        self._count += 1
        self._written = now
        with guarded(self._path):
            self._path.write_bytes(self._text())

    def _text(self) -> bytes:
        return f"{self._job_uid} {self._count}".encode()


class Watch:
    """What one observer has seen of all lanes' counters."""

    def __init__(self, lanes: Path, clock: Clock) -> None:
        self._lanes = lanes
        self._clock = clock
        self._seen: dict[str, _Sight] = {}

    def look(self) -> None:
        """Read every counter, so that time counts from now for those that stand still."""
        with guarded(self._lanes):
            names = [path.name for path in self._lanes.iterdir()]
        for name in names:
            self.still_for(name)

    def still_for(self, owner: str) -> float:
        """Seconds for which the owner's counter has not changed under this observer's eyes; 0 at first sight."""
        now = self._clock()
        value = self._read(owner)
        last = self._seen.get(owner)
        if last is None or last.value != value:
            self._seen[owner] = _Sight(value, now, moved=last is not None)
            return 0.0
        return now - last.since

    def moved(self, owner: str) -> bool:
        """Whether this observer ever saw the owner's counter change."""
        last = self._seen.get(owner)
        return last is not None and last.moved

    def job_of(self, owner: str) -> str:
        """Uid of the resource that an owner works for; empty when it cannot be known."""
        return self._read(owner).partition(b" ")[0].decode(errors="replace")

    def _read(self, owner: str) -> bytes:
        if Owner.parse(owner) is None:
            return b""
        path = self._lanes / owner
        with guarded(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return b""
