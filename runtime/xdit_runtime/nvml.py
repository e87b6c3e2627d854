"""The pod's GPUs as their driver sees them, without holding any of their memory: use, and whether one is gone.

The driver may take minutes to answer for a GPU that fell off its bus, so a thread of its own asks.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from xdit_api.report import GpuProgress

INTERVAL = 10.0
"""Seconds between two looks."""
_FATAL_XIDS = {
    48: "double bit ECC error",
    62: "internal micro-controller halt",
    64: "ECC page retirement failed",
    79: "GPU has fallen off the bus",
    95: "uncontained ECC error",
    119: "GSP does not answer",
    120: "GSP error",
    140: "unrecovered ECC error",
    143: "GPU did not initialise",
}
"""Numbers of the driver's messages after which a GPU does no more work until it is reset. Others can be a program's fault."""


class GpuGoneError(Exception):
    """The driver says that a GPU is lost, or no longer knows it."""


class Driver(Protocol):
    """What is asked of the driver. Every method may raise GpuGoneError."""

    def read(self) -> list[GpuProgress]:
        """Memory and use of each GPU of this pod."""

    def xids(self) -> list[tuple[int, int]]:
        """(GPU, Xid) of the driver's messages since the last call."""


class Nvml:
    """The driver's own library. devices: indices or UUIDs as in CUDA_VISIBLE_DEVICES; None for all that the pod has."""

    def __init__(self, devices: Sequence[str] | None) -> None:
        """Raises RuntimeError when there is no such library or driver."""
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise RuntimeError(str(error)) from error
        self._nvml = pynvml
        self._gone = (pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_ResetRequired, pynvml.NVMLError_GpuNotFound,
                      pynvml.NVMLError_DriverNotLoaded)  # fmt: skip
        names = devices if devices is not None else [str(i) for i in range(int(pynvml.nvmlDeviceGetCount()))]
        try:
            self._handles = [self._handle(name) for name in names]
        except pynvml.NVMLError as error:
            raise RuntimeError(f"{error} (one of {', '.join(names)})") from error
        self._events = self._listen()

    def _handle(self, name: str) -> object:
        handle: object = (
            self._nvml.nvmlDeviceGetHandleByIndex(int(name))
            if name.isdecimal()
            else self._nvml.nvmlDeviceGetHandleByUUID(name.encode())
        )
        return handle

    def _listen(self) -> object | None:
        """None where the driver tells no messages (virtual GPUs, MIG)."""
        try:
            events: object = self._nvml.nvmlEventSetCreate()
            for handle in self._handles:
                self._nvml.nvmlDeviceRegisterEvents(handle, self._nvml.nvmlEventTypeXidCriticalError, events)
        except self._nvml.NVMLError:
            return None
        return events

    def read(self) -> list[GpuProgress]:
        """See Driver."""
        return [self._read(index, handle) for index, handle in enumerate(self._handles)]

    def _read(self, index: int, handle: object) -> GpuProgress:
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            used, total = int(memory.used), int(memory.total)
        except self._gone as error:
            raise GpuGoneError(f"GPU {index}: {error}") from error
        except self._nvml.NVMLError:
            used, total = 0, 0
        try:
            busy: int | None = int(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        except self._gone as error:
            raise GpuGoneError(f"GPU {index}: {error}") from error
        except self._nvml.NVMLError:
            busy = None
        return GpuProgress(index=index, memory_used=used, memory_total=total, utilization=busy)

    def xids(self) -> list[tuple[int, int]]:
        """See Driver."""
        found: list[tuple[int, int]] = []
        while self._events is not None and len(found) < 100:
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._events, 1)
            except self._gone as error:
                raise GpuGoneError(str(error)) from error
            except self._nvml.NVMLError:
                break
            uuid = self._nvml.nvmlDeviceGetUUID(event.device)
            index = next((i for i, h in enumerate(self._handles) if self._nvml.nvmlDeviceGetUUID(h) == uuid), -1)
            found.append((index, int(event.eventData)))
        return found


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the GPUs."""

    gpus: list[GpuProgress]
    problem: str | None
    """Why the attempt cannot go on with them."""
    notes: list[str]
    """For the log."""


def look(driver: Driver) -> Look:
    """Ask once."""
    try:
        messages = driver.xids()
        gpus = driver.read()
    except GpuGoneError as error:
        return Look([], str(error), [])
    fatal = next((f"GPU {gpu}: Xid {xid} ({_FATAL_XIDS[xid]})" for gpu, xid in messages if xid in _FATAL_XIDS), None)
    return Look(gpus, fatal, [f"GPU {gpu}: the driver says Xid {xid}" for gpu, xid in messages])


class Monitor:
    """Looks every INTERVAL seconds, and when asked to, in a thread."""

    def __init__(self, driver: Callable[[], Driver], warn: Callable[[str], None], interval: float = INTERVAL) -> None:
        """driver: opens it, in the thread; a RuntimeError means that there is nothing to watch."""
        self._driver = driver
        self._warn = warn
        self._interval = interval
        self._changed = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._stopped = False
        self._last = Look([], None, [])
        threading.Thread(target=self._run, name="gpus", daemon=True).start()

    @property
    def gpus(self) -> list[GpuProgress]:
        """At the last look."""
        return self._last.gpus

    @property
    def problem(self) -> str | None:
        """Why a GPU is of no more use; stays once it is set."""
        return self._last.problem

    def ask(self, seconds: float) -> str | None:
        """The problem after a fresh look, or the last one's when the driver takes longer than `seconds`."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._asked += 1
            mine = self._asked
            self._changed.notify_all()
            while self._answered < mine and not self._stopped and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
        return self._last.problem

    def _run(self) -> None:
        try:
            driver = self._driver()
        except RuntimeError as error:
            self._warn(f"the GPUs are not watched: {error}")
            self._stop()
            return
        while True:
            with self._changed:
                asked = self._asked
            self._last = look(driver)
            for note in self._last.notes:
                self._warn(note)
            if self._last.problem is not None:
                self._stop()
                return
            with self._changed:
                self._answered = asked
                self._changed.notify_all()
                if self._asked == asked:
                    self._changed.wait(self._interval)

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
