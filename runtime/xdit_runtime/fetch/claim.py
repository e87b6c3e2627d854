"""Which of several runs downloads a model: by generations of claims, with calls that also hold on NFS (no locks).

`claim.<n>` is created with O_EXCL and never removed; the highest n owns. Its owner renews `beat.<n>` while it works and leaves
`released.<n>` when it ends. A claim whose beat does not change for `lease` seconds of the observer's own clock is dead, and the
next run creates n + 1. An owner that slept longer than half a lease writes nothing more and waits for a claim again.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from xdit_runtime.volume import OutputVolumeError, create_exclusive, replace


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, so that others in the same process namespace can see whether it lives."""

    host: str
    boot: str
    namespace: str
    pid: int
    start: str
    """Start time of the process in clock ticks since boot: process ids are used again."""

    @classmethod
    def me(cls) -> "Owner":
        """The calling process."""
        return cls(
            host=socket.gethostname(),
            boot=_boot(),
            namespace=str(Path("/proc/self/ns/pid").readlink()),
            pid=os.getpid(),
            start=_start(os.getpid()) or "",
        )

    def dead_to(self, observer: "Owner") -> bool:
        """True only when the observer can be sure."""
        same = (self.host, self.boot, self.namespace) == (observer.host, observer.boot, observer.namespace)
        return same and _start(self.pid) != self.start


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start(pid: int) -> str | None:
    try:
        # the second field is the name in parentheses, which may hold spaces; zombies do not write any more
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


class LostError(Exception):
    """Another run may have taken over; nothing may be written any more."""


class Claim:
    """The right to write. Renewed by a thread from `take` to `release`."""

    def __init__(self, directory: Path, generation: int, lease: float) -> None:
        self._directory = directory
        self._generation = generation
        self._lease = lease
        self._end = threading.Event()
        self._lost = False
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name="claim", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """True when another run may have taken over."""
        return self._lost or time.monotonic() - self._last > self._lease / 2

    def check(self) -> None:
        """Raise LostError when another run may have taken over."""
        if self.lost:
            raise LostError

    def release(self) -> None:
        """Let the next run start at once."""
        self._end.set()
        self._thread.join(self._lease)
        # where the volume fails, the lease ends the claim
        with suppress(OutputVolumeError):
            create_exclusive(self._directory / f"released.{self._generation}", b"")

    def _beat(self) -> None:
        count = 0
        path = self._directory / f"beat.{self._generation}"
        while not self._end.is_set():
            before = time.monotonic()
            try:
                if _highest(self._directory) > self._generation:
                    self._lost = True
                    return
                replace(path, f"{count}\n".encode(), path.with_suffix(f".{self._generation}.new"))
                # a call that hung for long must not count as fresh
                self._last = before
            except (OutputVolumeError, OSError):
                # the download meets the same volume and says so; without a beat the claim ends by itself
                pass
            count += 1
            self._end.wait(self._lease / 12)


def take(
    directory: Path, lease: float, complete: Callable[[], bool], wait: Callable[[float], None], waiting: Callable[[str], None]
) -> Claim | None:
    """The claim, as soon as no living run has it; None when the model is complete by then.

    `wait(seconds)` may raise to give up; `waiting` is told about every wait, with the owner's host. Raises OSError.
    """
    me = Owner.me()
    seen: tuple[int, str] | None = None
    since = time.monotonic()
    while not complete():
        generation = _highest(directory)
        state = (generation, _read(directory / f"beat.{generation}"))
        if state != seen:
            seen, since = state, time.monotonic()
        owner = _owner(directory / f"claim.{generation}")
        free = (
            generation == 0
            or (directory / f"released.{generation}").exists()
            or (owner is not None and owner.dead_to(me))
            or time.monotonic() - since > lease
        )
        if not free:
            waiting(owner.host if owner is not None else "an unknown host")
            wait(min(1.0, lease / 12))
        elif create_exclusive(directory / f"claim.{generation + 1}", json.dumps(asdict(me)).encode()):
            claim = Claim(directory, generation + 1, lease)
            if not complete():
                return claim
            claim.release()
    return None


def _highest(directory: Path) -> int:
    found = [path.name.removeprefix("claim.") for path in directory.iterdir() if path.name.startswith("claim.")]
    return max((int(number) for number in found if number.isdecimal()), default=0)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _owner(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(_read(path)))
    except (ValueError, TypeError):
        return None
