"""Claims under any order of claiming, finishing, releasing, dying and waiting; and under real processes that are killed."""

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from PIL import Image

from tests.unit.runtime.jobs import make_job, picture
from xdit_api.job import Job
from xdit_runtime.ledger import Claim, LaneLedger, open_lane
from xdit_runtime.ledger.opening import open_prompts
from xdit_runtime.paths import Layout
from xdit_runtime.publish import Publisher
from xdit_runtime.sink import Made, Sink

PROMPTS = 6
COUNT = int(os.environ.get("XDIT_TEST_PROMPTS", "1000"))
"""Of the test with real processes; fewer where a file system or an emulated machine is slow."""
PATIENCE = 200.0 * max(1.0, 1000 / COUNT)


def write(job: Job, ledger: LaneLedger, claim: Claim) -> None:
    sink = Sink(ledger, job, lambda _line: None)
    sink.put([Made(claim.prompt, k, picture(job, claim.prompt, k), 0.0) for k in claim.missing])
    sink.close()


class Lanes(RuleBasedStateMachine):
    """Lanes that live beat whenever time passes; dead ones are silent for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.now = 0.0
        self.live: list[LaneLedger] = []
        self.held: dict[str, list[tuple[LaneLedger, Claim]]] = {}
        self.made: list[str] = []
        self.pods = 0

    @initialize()
    def begin(self) -> None:
        self.job = make_job(Path(self.directory.name), PROMPTS)
        for replica in range(3):
            self.start(replica)

    @rule(replica=st.integers(0, 2))
    @precondition(lambda self: len(self.live) < 4)
    def start(self, replica: int) -> None:
        """A replica's lane has one life at a time: an earlier one ends when the next begins."""
        for ledger in [item for item in self.live if item.owner.replica == replica]:
            self.drop(ledger)
        self.pods += 1
        ledger = open_lane(
            self.job, replica=replica, lane=0, lanes=1, pod_uid=f"pod{self.pods:05d}", clock=lambda: self.now, sleep=self.wait
        )
        self.live.append(ledger)

    def drop(self, ledger: LaneLedger) -> None:
        self.live.remove(ledger)
        ledger.close()
        for holders in self.held.values():
            holders[:] = [h for h in holders if h[0] is not ledger]

    @rule(seconds=st.integers(1, 300))
    def wait(self, seconds: float) -> None:
        while seconds > 0:
            self.now += min(seconds, 10)
            seconds -= 10
            for ledger in self.live:
                ledger.beat()

    # most of what happens, so that lanes meet
    @rule(data=st.data())
    @precondition(lambda self: self.live)
    def claim(self, data: Any) -> None:
        self.claim_some(data)

    @rule(data=st.data())
    @precondition(lambda self: self.live)
    def claim_too(self, data: Any) -> None:
        self.claim_some(data)

    @rule(data=st.data())
    @precondition(lambda self: self.live)
    def claim_again(self, data: Any) -> None:
        self.claim_some(data)

    def claim_some(self, data: Any) -> None:
        ledger = data.draw(st.sampled_from(self.live))
        began = self.now
        claims = ledger.claim(lambda _prompt: data.draw(st.integers(1, 3)))
        assert self.now - began <= self.job.lease_seconds + 2
        for claim in claims:
            assert claim.prompt.id not in self.made
            self.held.setdefault(claim.prompt.id, []).append((ledger, claim))

    def some(self, data: Any) -> tuple[LaneLedger, Claim]:
        chosen: tuple[LaneLedger, Claim] = data.draw(st.sampled_from([h for hs in self.held.values() for h in hs]))
        return chosen

    @rule(data=st.data())
    @precondition(lambda self: any(self.held.values()))
    def finish(self, data: Any) -> None:
        ledger, claim = self.some(data)
        write(self.job, ledger, claim)
        self.made.append(claim.prompt.id)
        del self.held[claim.prompt.id]

    @rule(data=st.data())
    @precondition(lambda self: any(self.held.values()))
    def release(self, data: Any) -> None:
        ledger, claim = self.some(data)
        ledger.release(claim.prompt.id)
        del self.held[claim.prompt.id]

    @rule(data=st.data())
    @precondition(lambda self: self.live)
    def die(self, data: Any) -> None:
        self.drop(data.draw(st.sampled_from(self.live)))

    @invariant()
    def one_live_owner(self) -> None:
        assert all(len(holders) <= 1 for holders in self.held.values())
        assert len(set(self.made)) == len(self.made)

    def teardown(self) -> None:
        """Whatever happened, one lane that starts now and is given time finishes the job."""
        for ledger in list(self.live):
            self.drop(ledger)
        self.start(9)
        last = self.live[0]
        while claims := last.claim():
            for claim in claims:
                assert claim.prompt.id not in self.made
                write(self.job, last, claim)
        assert last.complete()
        self.drop(last)
        self.directory.cleanup()


Lanes.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestLanes = Lanes.TestCase


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[list[Path]]:
    """The output directory as each client sees it.

    XDIT_TEST_VOLUME: one or more directories, with ':' between, that are the same one in several mounts (docs/ledger.md).
    """
    elsewhere = os.environ.get("XDIT_TEST_VOLUME")
    if elsewhere is None:
        yield [tmp_path / "out"]
        return
    name = f"ledger-{os.getpid()}"
    yield [Path(mount) / name for mount in elsewhere.split(":")]
    shutil.rmtree(Path(elsewhere.split(":")[0]) / name)


def work(job: Job, replica: int, incarnation: int) -> None:
    """A lane in a process of its own."""
    ledger = open_lane(job, replica=replica, lane=0, lanes=1, pod_uid=f"{replica}x{incarnation}")
    sink = Sink(ledger, job, lambda _line: None)
    random_ = random.Random(incarnation)
    while claims := ledger.claim(lambda _prompt: random_.randint(1, 12)):
        sink.put([Made(c.prompt, k, picture(job, c.prompt, k), 0.0) for c in claims for k in c.missing])
        ledger.beat()
    sink.close()
    ledger.close()


@pytest.mark.timeout(PATIENCE + 60)
def test_processes_that_are_killed_and_stopped_lose_repeat_and_tear_nothing(tmp_path: Path, outputs: list[Path]) -> None:
    """The lease is shorter than a beat, so that lanes also steal from each other all the time."""
    records = [{"id": f"p{i}", "prompt": f"{i}", "images": 1 + i % 3, "steps": 1 + i % 2} for i in range(COUNT)]
    jobs = [make_job(tmp_path, records, leaseSeconds=1, output={"path": str(path)}) for path in outputs]
    job = jobs[0]
    total = sum(int(str(r["images"])) for r in records)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    random_ = random.Random(7)
    lanes: dict[int, Any] = {}
    exits: set[int] = set()
    layout = Layout.of(job)
    kills = started = stops = 0
    stopped: tuple[int, float] | None = None
    deadline = time.monotonic() + PATIENCE
    while not (done := layout.images.exists() and len(list(layout.images.iterdir())) == total) or lanes:
        assert time.monotonic() < deadline
        for replica in range(4):
            process = lanes.get(replica)
            if process is not None and not process.is_alive():
                exits.add(process.exitcode)
                del lanes[replica]
            if replica not in lanes and not done:
                lanes[replica] = context.Process(target=work, args=(jobs[started % len(jobs)], replica, started), daemon=True)
                lanes[replica].start()
                started += 1
        time.sleep(random_.uniform(0.02, 0.3))
        if stopped is not None and time.monotonic() > stopped[1]:
            os.kill(stopped[0], signal.SIGCONT)
            stopped = None
        alive = [process for process in lanes.values() if process.is_alive()]
        victim = random_.choice(alive) if alive else None
        if victim is not None and stopped is None and stops < 3 and stops <= kills / 3:
            stops += 1
            os.kill(victim.pid, signal.SIGSTOP)
            stopped = (victim.pid, time.monotonic() + 2 * job.lease_seconds)
        elif victim is not None and kills < 12 and (stopped is None or victim.pid != stopped[0]):
            victim.kill()
            kills += 1
    assert exits == {0, -signal.SIGKILL}
    # how many depends on how fast the work is done; enough to mean something on any machine
    assert kills >= 6, kills
    assert stops >= 1, stops

    ledger = open_lane(job, replica=0, lane=0, lanes=1, pod_uid="last")
    assert ledger.complete()
    assert ledger.counts().completed == total
    publisher = Publisher(job, layout, open_prompts(job, layout), 0, "test")
    publisher.publish()
    lines = {line["file"]: line for line in map(json.loads, layout.manifest.read_text().splitlines())}
    assert len(layout.manifest.read_text().splitlines()) == len(lines) == len(list(layout.images.iterdir())) == total
    prompts = open_prompts(job, layout)
    for path in layout.images.iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == lines[path.name]["sha256"]
        with Image.open(path) as image:
            line = lines[path.name]
            position = int(prompts.find([line["id"]])[0])
            assert np.array_equal(np.asarray(image), picture(job, prompts[position], line["k"]))
            assert image.info["seed"] == str(line["seed"])
