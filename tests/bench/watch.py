"""What a run takes of the host: sampled beside it."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from xdit_runtime import processes

_GIB = 2**30


class Watch:
    """Samples a process tree, and /progress of the worker on `port`, until `end`."""

    def __init__(self, pid: int, port: int, seconds: float = 0.5) -> None:
        self._pid, self._port, self._seconds = pid, port, seconds
        self._over = threading.Event()
        self._base = _meminfo("AnonPages") + _meminfo("Shmem")
        self.anonymous = self.system = self.container = 0
        self.gpus: dict[int, int] = {}
        self.progress: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> dict[str, Any]:
        """Peaks, in GiB, and what the lanes said of their start."""
        self._over.set()
        self._thread.join()
        lanes = self.progress.get("lanes", [])
        return {
            "start_seconds": self.progress.get("startSeconds"),
            "load_seconds": [lane.get("loadSeconds") for lane in lanes],
            "first_step_seconds": [lane.get("firstStepSeconds") for lane in lanes],
            "blocked_seconds": [lane.get("blockedSeconds") for lane in lanes],
            "gpu_memory_gib": [round(self.gpus[n] / _GIB, 2) for n in sorted(self.gpus)],
            "host_anonymous_gib": round(self.anonymous / _GIB, 2),
            "host_anonymous_and_shared_of_system_gib": round(self.system / _GIB, 2),
            "container_gib_with_page_cache": round(self.container / _GIB, 2),
        }

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            tree = [self._pid, *processes.descendants(self._pid)]
            self.anonymous = max(self.anonymous, sum(_status(pid, "RssAnon") + _status(pid, "RssShmem") for pid in tree))
            self.system = max(self.system, _meminfo("AnonPages") + _meminfo("Shmem") - self._base)
            with suppress(OSError, ValueError):
                self._ask()

    def _ask(self) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/progress", timeout=2) as answer:
            said = json.loads(answer.read())
        if said.get("lanes"):
            self.progress = said
        for gpu in said.get("gpus", []):
            self.gpus[gpu["index"]] = max(self.gpus.get(gpu["index"], 0), gpu["memoryUsed"])
        self.container = max(self.container, (said.get("memory") or {}).get("peak") or 0)


def _status(pid: int, name: str) -> int:
    return _field(Path(f"/proc/{pid}/status"), name)


def _meminfo(name: str) -> int:
    return _field(Path("/proc/meminfo"), name)


def _field(path: Path, name: str) -> int:
    """Bytes of a line "name:  123 kB"; 0 when it is not there."""
    with suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


def read_speed(path: Path, limit: float, drop: Callable[[Path], None]) -> float:
    """Bytes a second of reading a file that is not in the page cache, for at most `limit` seconds."""
    drop(path)
    began, size = time.monotonic(), 0
    with path.open("rb", buffering=0) as file:
        while (data := file.read(1 << 24)) and time.monotonic() - began < limit:
            size += len(data)
    return size / max(time.monotonic() - began, 1e-6)
