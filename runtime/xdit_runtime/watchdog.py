"""Ends a supervisor that itself stands still: an output volume that answers no call blocks whoever calls."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable


class Watchdog:
    """Calls `bark` once when `alive` was not called for `seconds`; `bark` must end the process."""

    def __init__(self, bark: Callable[[float], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._bark = bark
        self._clock = clock
        self._last = clock()
        self._done = threading.Event()

    def start(self, seconds: float) -> None:
        """From here on `alive` must be called at least that often."""
        self.alive()
        threading.Thread(target=self._run, args=(seconds,), name="watchdog", daemon=True).start()

    def alive(self) -> None:
        """The main thread moves."""
        self._last = self._clock()

    def stop(self) -> None:
        """It is over."""
        self._done.set()

    def _run(self, seconds: float) -> None:
        while not self._done.wait(min(1.0, seconds / 4)):
            still = self._clock() - self._last
            if still > seconds:
                self._bark(still)
                return


def dump_and_leave(code: int) -> None:
    """Every thread's stack on standard error, then out, whatever hangs."""
    sys.stdout.flush()
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(code)
