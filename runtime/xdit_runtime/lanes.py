"""Lanes of this pod: one torchrun each, started, watched and killed.

torchrun is not asked how it went: its exit code is 1 for everything. Ranks say it in files; for one that died without
a word, torchrun's report on standard error has the exit code.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from xdit_api import pod
from xdit_api.job import Job
from xdit_runtime import gpus, handshake, network, processes, rankpipe
from xdit_runtime.logs import Log, Source, level_of
from xdit_runtime.settings import Settings, inherited

_REPORT_SECONDS = 3.0
"""How long torchrun may take to report after its ranks are dead."""
_BARRIER_SECONDS = 15.0
"""How long torchrun may wait for other pods' torchruns after the ranks of this pod ended well."""
_REPORTED = re.compile(r"rank\s*: (?P<rank>\d+) \(local_rank: \d+\)\s*\n\s*exitcode\s*: (?P<code>-?\d+)")
_TAIL_LINES = 200


def command(settings: Settings, job: Job, address: str, port: int, lane_dir: Path) -> list[str]:
    """Torchrun for one lane's ranks in this pod."""
    options = {
        "nnodes": job.pods,
        "node-rank": settings.node_rank,
        "nproc-per-node": job.gpus_per_pod // job.degrees.lanes,
        "master-addr": address,
        "master-port": port,
        "max-restarts": 0,
        "role": "rank",
        "log-dir": lane_dir / "torchrun",
    }
    torchrun = [sys.executable, "-m", settings.launch_module]
    return [*torchrun, *(f"--{name}={value}" for name, value in options.items()), "-m", settings.rank_module]


def environment(
    settings: Settings, job: Job, lane: int, lane_dir: Path, env: Mapping[str, str], interface: str | None
) -> dict[str, str]:
    """Environment of a lane's ranks. env: the supervisor's own. interface: of the pod's address, for several pods."""
    size = job.gpus_per_pod // job.degrees.lanes
    out = inherited(env)
    out |= {
        pod.ENV_JOB: str(settings.job_path),
        pod.ENV_REPLICA: str(settings.replica),
        pod.ENV_ATTEMPT: str(settings.attempt),
        pod.ENV_POD_NAME: settings.pod,
        pod.ENV_POD_UID: settings.pod_uid,
        handshake.ENV_LANE: str(lane),
        handshake.ENV_LANE_DIR: str(lane_dir),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    if interface is not None:
        out.setdefault("GLOO_SOCKET_IFNAME", interface)
    if job.device == "cuda" and job.degrees.lanes > 1:
        out["CUDA_VISIBLE_DEVICES"] = gpus.slice_of(lane, size, env.get("CUDA_VISIBLE_DEVICES"))
    # ranks share the processors; more threads than that only get in each other's way
    out.setdefault("OMP_NUM_THREADS", str(max(1, min(16, processes.cpus() // job.gpus_per_pod))))
    return out


@dataclass
class Lane:
    """One lane's torchrun and what is known of its ranks."""

    index: int
    dir: Path
    process: subprocess.Popen[bytes]
    size: int
    """Ranks in this pod."""
    reader: threading.Thread
    tail: list[str]
    """Last lines of torchrun's own output."""
    started: float = field(default_factory=time.monotonic)
    ranks: dict[int, int] = field(default_factory=dict)
    """Rank → pid, as they appear."""
    silent: list[int] = field(default_factory=list)
    """Ranks that were found dead, before anyone killed them, without having said that they ended well."""
    _ended: float | None = None
    _beat: tuple[float | None, float] | None = None

    def look(self) -> None:
        """Find the ranks, and those that died."""
        if len(self.ranks) < self.size:
            for pid in processes.descendants(self.process.pid):
                env = processes.environment_of(pid)
                if "RANK" in env and env.get(handshake.ENV_LANE_DIR) == str(self.dir):
                    self.ranks.setdefault(int(env["RANK"]), pid)
        ended = {end.rank for end in handshake.ends(self.dir)}
        dead = [rank for rank, pid in self.ranks.items() if not processes.alive(pid)]
        self.silent = [rank for rank in dead if rank not in ended]

    @property
    def broken(self) -> bool:
        """A rank failed or died, or torchrun did."""
        if self.silent or handshake.failures(self.dir):
            return True
        return self.process.poll() is not None and len(handshake.ends(self.dir)) < self.size

    @property
    def finished(self) -> bool:
        """All ranks of this pod ended well and torchrun is gone, or has had time enough to be."""
        if len(handshake.ends(self.dir)) < self.size:
            return False
        self._ended = self._ended or time.monotonic()
        return self.process.poll() is not None or time.monotonic() - self._ended > _BARRIER_SECONDS

    def still_for(self) -> float:
        """Seconds since any rank of this pod showed a sign of life, by this process's monotonic clock."""
        now, beat = time.monotonic(), handshake.last_beat(self.dir)
        if self._beat is None or self._beat[0] != beat:
            self._beat = (beat, now if beat is not None else self.started)
        return now - self._beat[1]

    def stopped(self) -> list[int]:
        """Ranks that a signal (SIGSTOP) keeps from running."""
        return sorted(rank for rank, pid in self.ranks.items() if processes.stopped(pid))

    def dump_stacks(self) -> None:
        """Make every rank write where it is; takes effect within a second or never."""
        alive = [pid for pid in self.ranks.values() if processes.alive(pid)]
        processes.send(alive, signal.SIGUSR1)
        # a stopped process takes no signal but this one, and then the other one first
        processes.send([pid for pid in alive if processes.stopped(pid)], signal.SIGCONT)

    def kill(self) -> bool:
        """End all ranks at once; torchrun may say what it saw of them. False when a process of the lane cannot be ended."""
        below = set(processes.descendants(os.getpid()))  # a dead rank's number may be somebody else's by now
        processes.send(below.intersection(self.ranks.values()), signal.SIGKILL)
        try:
            self.process.wait(_REPORT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        # what ranks have started is ours now that they are gone
        gone = processes.kill_below(
            os.getpid(), lambda pid: processes.environment_of(pid).get(handshake.ENV_LANE_DIR) == str(self.dir)
        )
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_REPORT_SECONDS)
        self.reader.join(_REPORT_SECONDS)
        return gone

    def exit_code(self, rank: int) -> int | None:
        """What torchrun reported of a rank: negative for a signal; None when it reported nothing."""
        found = {int(m["rank"]): int(m["code"]) for m in _REPORTED.finditer("\n".join(self.tail))}
        return found.get(rank)


def start(settings: Settings, job: Job, index: int, life: int, log: Log) -> Lane:
    """Start life `life` (from 0) of a lane. Call it from the main thread: the lane dies with the thread that started it."""
    lane_dir = settings.life_dir / (f"lane-{index}-{life}" if life else f"lane-{index}")
    lane_dir.mkdir(parents=True)
    several = job.pods > 1
    size = job.gpus_per_pod // job.degrees.lanes
    pipes = rankpipe.make(lane_dir, range(settings.node_rank * size, (settings.node_rank + 1) * size))
    address = settings.master_addr if several else "127.0.0.1"
    port = settings.master_port if several else network.free_port()
    interface = network.interface_towards(settings.master_addr) if several else None
    process = subprocess.Popen(  # noqa: S603 - our own command line
        command(settings, job, address, port, lane_dir),
        env=environment(settings, job, index, lane_dir, os.environ, interface) | {handshake.ENV_LANE_BEGAN: str(handshake.now())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=processes.die_with_parent,
    )
    assert process.stdout is not None
    tail: list[str] = []

    def say(rank: int | None, line: str) -> None:
        log.say(line, Source(index, rank, several=job.degrees.lanes > 1), level_of(line))
        if rank is None:
            tail.append(line)
            del tail[:-_TAIL_LINES]

    reader = threading.Thread(target=rankpipe.copy, args=(pipes, process.stdout, say), name=f"lane-{index}-log", daemon=True)
    reader.start()
    return Lane(index, lane_dir, process, size, reader, tail)
