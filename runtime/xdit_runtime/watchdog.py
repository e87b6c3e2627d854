"""Ends a supervisor that itself stands still: an output volume that answers no call blocks whoever calls."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path


def moved(task: Path = Path("/proc/self/task")) -> str:
    """A text that changes whenever the main thread runs: how often the kernel took it off a processor."""
    status = (task / str(os.getpid()) / "status").read_text()
    return " ".join(line for line in status.splitlines() if "ctxt_switches" in line)


class Watchdog:
    """Calls `bark` once when for `seconds` nobody called `alive` and `moved` stayed the same; `bark` must end the process.

    Long work of the main thread (a million images to list) is no standstill; one call that does not return is.
    """

    def __init__(self, bark: Callable[[float], None], measure: Callable[[], str] = moved) -> None:
        self._bark = bark
        self._measure = measure
        self._last = time.monotonic()
        self._done = threading.Event()

    def start(self, seconds: float) -> None:
        """Begin to watch."""
        self.alive()
        threading.Thread(target=self._run, args=(seconds,), name="watchdog", daemon=True).start()

    def alive(self) -> None:
        """The main thread moves."""
        self._last = time.monotonic()

    def stop(self) -> None:
        """It is over."""
        self._done.set()

    def _run(self, seconds: float) -> None:
        before = self._measure()
        while not self._done.wait(min(1.0, seconds / 4)):
            after = self._measure()
            if after != before:
                before = after
                self.alive()
            still = time.monotonic() - self._last
            if still > seconds:
                self._bark(still)
                return


def dump_and_leave(code: int) -> None:
    """Every thread's stack on standard error, then out, whatever hangs."""
    sys.stdout.flush()
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(code)
