"""What is made of the driver's words; the driver's own library is asked on real GPUs by tests/bench/gpus.py."""

import threading
import time
from collections.abc import Callable

from xdit_api.report import GpuProgress
from xdit_runtime.nvml import Driver, GpuGoneError, Monitor, look

GPUS = [GpuProgress(index=i, memory_used=10 + i, memory_total=100, utilization=50) for i in range(2)]


class Scripted:
    """A driver that says what it is told to."""

    def __init__(self, *messages: list[tuple[int, int]], gone: str | None = None, hangs: threading.Event | None = None) -> None:
        self.messages = list(messages)
        self.gone = gone
        self.hangs = hangs

    def read(self) -> list[GpuProgress]:
        if self.hangs is not None:
            self.hangs.wait(10)
        if self.gone is not None:
            raise GpuGoneError(self.gone)
        return GPUS

    def xids(self) -> list[tuple[int, int]]:
        return self.messages.pop(0) if self.messages else []


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_use_and_memory_are_passed_on() -> None:
    found = look(Scripted())
    assert (found.gpus, found.problem, found.notes) == (GPUS, None, [])


def test_a_programs_own_fault_is_only_noted() -> None:
    found = look(Scripted([(1, 31), (0, 13)]))
    assert found.problem is None
    assert found.notes == ["GPU 1: the driver says Xid 31", "GPU 0: the driver says Xid 13"]


def test_a_gpu_that_must_be_reset_is_a_problem() -> None:
    assert look(Scripted([(0, 13), (1, 79)])).problem == "GPU 1: Xid 79 (GPU has fallen off the bus)"
    assert look(Scripted(gone="GPU 1: GPU is lost")).problem == "GPU 1: GPU is lost"


def test_a_problem_is_found_between_two_looks_when_somebody_asks() -> None:
    driver = Scripted()
    monitor = Monitor(lambda: driver, lambda _text: None, interval=100)
    until(lambda: monitor.gpus)
    assert monitor.ask(5) is None
    driver.gone = "GPU 0: GPU is lost"
    assert monitor.ask(5) == "GPU 0: GPU is lost"
    assert monitor.problem == "GPU 0: GPU is lost"


def test_a_driver_that_does_not_answer_holds_nobody_up() -> None:
    hangs = threading.Event()
    monitor = Monitor(lambda: Scripted(hangs=hangs), lambda _text: None)
    began = time.monotonic()
    assert monitor.ask(0.2) is None
    assert time.monotonic() - began < 2
    hangs.set()


def test_without_a_driver_there_is_nothing_to_watch() -> None:
    def fail() -> Driver:
        raise RuntimeError("NVML Shared Library Not Found")

    said: list[str] = []
    monitor = Monitor(fail, said.append)
    assert monitor.ask(5) is None
    assert said == ["the GPUs are not watched: NVML Shared Library Not Found"]
    assert monitor.gpus == []
