"""A supervisor as a process, for tests."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xdit_api.job import Job
from xdit_api.report import Result
from xdit_runtime import processes

ROOT = Path(__file__).parents[3]


class Pod:
    """One supervisor."""

    def __init__(self, tmp_path: Path, job: Job, name: str = "pod-0", **env: Any) -> None:
        self.dir = tmp_path / name
        self.dir.mkdir(exist_ok=True)
        path = self.dir / "job.json"
        path.write_text(job.model_dump_json(by_alias=True))
        self.result_path = self.dir / "termination-log"
        self.output = self.dir / "stdout"
        settings = {
            "XDIT_LIFE_DIR": self.dir / "life", "XDIT_TERMINATION_LOG": self.result_path, "XDIT_HTTP_PORT": 0, "XDIT_JOB": path,
            "POD_NAME": name, "POD_UID": f"{name.replace('-', '')}-uid", "XDIT_RANK_MODULE": "tests.unit.runtime.stand_in",
            "XDIT_LAUNCH_MODULE": "tests.unit.runtime.launcher", "PYTHONPATH": ROOT,
            # a stray one would make torchrun wait for ever
            "PET_NNODES": 7, "WORLD_SIZE": 9, "MASTER_ADDR": "127.0.0.1",
        }  # fmt: skip
        texts = {key: str(value) for key, value in {**settings, **env}.items()}
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "xdit_runtime.supervisor"],
                env={**os.environ, **texts},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def wait(self, seconds: float = 20) -> int:
        return self.process.wait(seconds)

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def result(self) -> Result:
        result = Result.decode(self.result_path.read_text())
        assert result is not None
        return result

    def until(self, condition: Callable[[], Any], seconds: float = 20) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, self.text
            assert self.process.poll() is None, self.text
            time.sleep(0.02)
        return found

    def rank(self, number: int) -> int:
        """pid of a rank."""

        def find() -> int | None:
            for pid in processes.descendants(self.process.pid):
                env = processes.environment_of(pid)
                if env.get("RANK") == str(number) and env.get("XDIT_LANE_DIR", "").startswith(str(self.dir)):
                    return pid
            return None

        return int(self.until(find))

    def get(self, path: str) -> str:
        port = self.until(lambda: re.search(r"HTTP on port (\d+)", self.text))[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())


def pods_below(tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    """What a fixture yields: makes pods; at the end nothing of them may run."""
    made: list[Pod] = []

    def make(job: Job, name: str = "pod-0", **env: Any) -> Pod:
        made.append(Pod(tmp_path, job, name, **env))
        return made[-1]

    yield make
    for pod in made:
        left = processes.descendants(pod.process.pid)
        if pod.process.poll() is None:
            pod.process.kill()
            pod.process.wait(5)
        processes.send(left, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while left := [
        p for p in processes.descendants(1) if processes.environment_of(p).get("XDIT_LIFE_DIR", "").startswith(str(tmp_path))
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
