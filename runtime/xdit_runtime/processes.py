"""Processes below the supervisor, read from /proc: which there are, how to end all of them, and zombies."""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_KILL_SECONDS = 10.0


def adopt_orphans() -> None:
    """Descendants whose parent dies become our children, as they do for PID 1."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """For a child before exec: SIGKILL when the supervisor's main thread, which started it, ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def stat_of(pid: int) -> tuple[str, int] | None:
    """(state, parent) of a process; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent = text[text.rindex(")") + 2 :].split()[:2]
    return state, int(parent)


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    found = stat_of(pid)
    return found is not None and found[0] not in "ZX"


def descendants(root: int) -> list[int]:
    """Processes below `root` that are not zombies, parents first."""
    children: dict[int, list[int]] = {}
    for pid in [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]:
        if (found := stat_of(pid)) is not None and found[0] not in "ZX":
            children.setdefault(found[1], []).append(pid)
    out: list[int] = []
    front = [root]
    while front:
        front = [child for parent in front for child in children.get(parent, [])]
        out += front
    return out


def stopped(pid: int) -> bool:
    """Whether it was stopped by a signal."""
    found = stat_of(pid)
    return found is not None and found[0] in "Tt"


def environment_of(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty when it is gone."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in data.split(b"\0") if b"=" in item)
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, _, value in pairs}


def send(pids: Collection[int], number: signal.Signals) -> None:
    """Send a signal to those that still exist."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_below(root: int, among: Callable[[int], bool] = lambda _pid: True) -> bool:
    """SIGKILL everything below `root` (for which `among` is true) until nothing is left; True when nothing is.

    For at most 10 s: a process in a dead driver stays.
    """
    deadline = time.monotonic() + _KILL_SECONDS
    while left := [pid for pid in descendants(root) if among(pid)]:
        if time.monotonic() >= deadline:
            return False
        send(left, signal.SIGKILL)
        time.sleep(0.05)
    return True


def reap(known: Collection[int]) -> None:
    """Collect ended children other than the known ones, which their own handles collect."""
    with suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None and ended.si_pid not in known:
            os.waitpid(ended.si_pid, os.WNOHANG)


def cpus() -> int:
    """Processors that this container may use: the smaller of affinity and quota, at least 1."""
    count = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, int(quota) // int(period))
    return max(1, count)
