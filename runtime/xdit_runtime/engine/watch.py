"""Signs of life while a library is busy: bytes read from files, or memory filled."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

GRAIN = 1 << 20
"""Bytes; less than this is noise of an idle process."""


def activity(process: Path = Path("/proc/self")) -> int:
    """A number that grows while this process reads files or fills memory, in bytes: read calls + storage reads + resident."""
    resident = int((process / "statm").read_text().split()[1]) * 4096
    try:
        io = dict(line.split(": ") for line in (process / "io").read_text().splitlines())
    except OSError:  # kernels without task accounting: memory alone must do
        return resident
    return int(io["rchar"]) + int(io["read_bytes"]) + resident


@contextmanager
def while_active(beat: Callable[[], None], *, interval: float = 2.0, measure: Callable[[], int] = activity) -> Iterator[None]:
    """Call `beat` every `interval` seconds in which `measure` moved by at least GRAIN. A hang moves nothing."""
    done = threading.Event()

    def watch() -> None:
        before = measure()
        while not done.wait(interval):
            after = measure()
            if abs(after - before) >= GRAIN:
                beat()
            before = after

    thread = threading.Thread(target=watch, name="load-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
