"""Supervisors of several replicas on this machine, and what a kubelet and the operator do for them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xdit_api.job import Job
from xdit_api.report import Result
from xdit_runtime import handshake, processes
from xdit_runtime.handshake import ENV_LANE_DIR

ROOT = Path(__file__).parents[2]


@dataclass
class Rank:
    """A process that draws, found from outside."""

    pid: int
    lane_dir: Path
    owner: str
    """Its life of its lane, as claims name it."""

    @property
    def claims(self) -> list[str]:
        return handshake.claims(self.lane_dir)


@dataclass
class Replica:
    """One pod after the other, each with a directory, a uid and an attempt of its own."""

    root: Path
    job: Job
    index: int
    env: Mapping[str, str]
    attempt: int = -1
    process: "subprocess.Popen[bytes] | None" = None
    exits: list[int] = field(default_factory=list)

    @property
    def pod(self) -> Path:
        return self.root / f"replica-{self.index}-attempt-{self.attempt}"

    def start(self) -> None:
        self.attempt += 1
        self.pod.mkdir(parents=True)
        job = self.pod / "job.json"
        job.write_text(self.job.model_dump_json(by_alias=True))
        settings = {
            "XDIT_LIFE_DIR": self.pod / "life", "XDIT_TERMINATION_LOG": self.pod / "result", "XDIT_HTTP_PORT": 0,
            "XDIT_JOB": job, "XDIT_REPLICA": self.index, "XDIT_ATTEMPT": self.attempt, "POD_NAME": f"job-{self.index}-0",
            "POD_UID": f"{self.index:02d}{self.attempt:02d}-{os.getpid()}", "PYTHONPATH": ROOT, "OMP_NUM_THREADS": 1,
            # far more than the test needs: no attempt may end because lanes are killed often
            "XDIT_LANE_RESTARTS": 100, "XDIT_LANE_BACKOFF": 0,
        }  # fmt: skip
        texts = {name: str(value) for name, value in {**settings, **self.env}.items()}
        with (self.pod / "output").open("wb") as out:
            command = [sys.executable, "-m", "xdit_runtime.supervisor"]
            self.process = subprocess.Popen(command, env={**os.environ, **texts}, stdout=out, stderr=subprocess.STDOUT)

    def ended(self) -> bool:
        """Whether no pod of this replica runs; an exit is written down once."""
        if self.process is not None and self.process.poll() is not None:
            self.exits.append(self.process.returncode)
            self.process = None
        return self.process is None

    @property
    def result(self) -> Result | None:
        path = self.pod / "result"
        return Result.decode(path.read_text()) if path.exists() else None

    def ranks(self) -> list[Rank]:
        """Ranks that have opened the ledger."""
        if self.process is None:
            return []
        found = []
        for pid in processes.descendants(self.process.pid):
            env = processes.environment_of(pid)
            directory = env.get(ENV_LANE_DIR)
            if directory is not None and "RANK" in env and (Path(directory) / "owner").exists():
                found.append(Rank(pid, Path(directory), (Path(directory) / "owner").read_text()))
        return found

    def kill(self) -> None:
        """The node is gone: the supervisor first, then what the kernel takes with it."""
        if self.process is None:
            return
        left = processes.descendants(self.process.pid)
        self.process.kill()
        self.process.wait(10)
        deadline = time.monotonic() + 10
        while any(processes.alive(pid) for pid in left):
            assert time.monotonic() < deadline, "processes outlive their supervisor"
            time.sleep(0.05)

    def clean(self) -> None:
        """Nothing may be left after the test, whatever happened."""
        if self.process is not None:
            left = processes.descendants(self.process.pid)
            self.process.kill()
            self.process.wait(10)
            processes.send(left, signal.SIGKILL)

    @property
    def output(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-6000:] for path in self.root.glob(f"replica-{self.index}-*/output"))
