"""Claims under any order of claiming, finishing, releasing, dying and waiting; and under real processes that are killed."""

import hashlib
import json
import multiprocessing
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from PIL import Image

from tests.unit.runtime.jobs import make_job, picture
from xdit_api.job import Job
from xdit_api.prompts import Prompt
from xdit_runtime.ledger import LaneLedger, open_lane
from xdit_runtime.paths import Layout
from xdit_runtime.sink import Sink

PROMPTS = 5


class Lanes(RuleBasedStateMachine):
    """Lanes that live beat whenever time passes; dead ones are silent for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.now = 0.0
        self.live: list[LaneLedger] = []
        self.held: dict[str, list[tuple[LaneLedger, Prompt]]] = {}
        self.made: list[str] = []
        self.pods = 0

    @initialize()
    def begin(self) -> None:
        self.job = make_job(Path(self.directory.name), PROMPTS)
        self.start(0)

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

    @rule(data=st.data())
    @precondition(lambda self: self.live)
    def claim(self, data: Any) -> None:
        ledger = data.draw(st.sampled_from(self.live))
        began = self.now
        prompt = ledger.claim()
        assert self.now - began <= self.job.lease_seconds + 2
        if prompt is not None:
            assert prompt.id not in self.made
            self.held.setdefault(prompt.id, []).append((ledger, prompt))

    def some(self, data: Any) -> tuple[LaneLedger, Prompt] | None:
        holders = [h for hs in self.held.values() for h in hs]
        return data.draw(st.sampled_from(holders)) if holders else None

    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        if (chosen := self.some(data)) is not None:
            ledger, prompt = chosen
            sink = Sink(ledger, self.job)
            sink.put(prompt, 0, picture(self.job, prompt, 0), 0.0)
            sink.close()
            self.made.append(prompt.id)
            del self.held[prompt.id]

    @rule(data=st.data())
    def release(self, data: Any) -> None:
        if (chosen := self.some(data)) is not None:
            ledger, prompt = chosen
            ledger.release(prompt.id)
            del self.held[prompt.id]

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
        sink = Sink(last, self.job)
        while (prompt := last.claim()) is not None:
            assert prompt.id not in self.made
            sink.put(prompt, 0, picture(self.job, prompt, 0), 0.0)
        sink.close()
        assert last.complete()
        self.drop(last)
        self.directory.cleanup()


Lanes.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestLanes = Lanes.TestCase


def work(job: Job, replica: int, incarnation: int) -> None:
    """A lane in a process of its own."""
    ledger = open_lane(job, replica=replica, lane=0, lanes=1, pod_uid=f"{replica}x{incarnation}")
    sink = Sink(ledger, job)
    while (prompt := ledger.claim()) is not None:
        for k in range(prompt.images):
            sink.put(prompt, k, picture(job, prompt, k), 0.0)
        ledger.beat()
    sink.close()
    ledger.close()


def test_processes_that_are_killed_lose_repeat_and_tear_nothing(tmp_path: Path) -> None:
    """The lease is shorter than a beat, so that lanes also steal from each other all the time."""
    records = [{"id": f"p{i}", "prompt": f"{i}", "images": 1 + i % 3} for i in range(150)]
    job = make_job(tmp_path, records, leaseSeconds=1)
    total = sum(r["images"] for r in records)  # type: ignore[misc]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    random_ = random.Random(7)
    lanes: list[Any] = []
    layout = Layout.of(job)
    kills = started = 0
    deadline = time.monotonic() + 60
    while not (layout.images.exists() and len(list(layout.images.iterdir())) == total and not any(p.is_alive() for p in lanes)):
        assert time.monotonic() < deadline
        lanes = [p for p in lanes if p.is_alive()]
        while len(lanes) < 4:
            process = context.Process(target=work, args=(job, started % 4, started), daemon=True)
            process.start()
            lanes.append(process)
            started += 1
        time.sleep(random_.uniform(0.02, 0.3))
        if kills < 12:
            random_.choice(lanes).kill()
            kills += 1
    assert kills == 12

    ledger = open_lane(job, replica=0, lane=0, lanes=1, pod_uid="last")
    assert ledger.complete()
    lines = [json.loads(line) for journal in layout.journals.glob("*.jsonl") for line in journal.read_text().splitlines()]
    by_image: dict[str, set[str]] = {}
    for line in lines:
        by_image.setdefault(line["file"], set()).add(line["sha256"])
    assert len(list(layout.images.iterdir())) == len(by_image) == total
    for path in layout.images.iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() in by_image[path.name]
    prompt = ledger._prompts[4]
    with Image.open(layout.image("p4.1")) as image:
        assert np.array_equal(np.asarray(image), picture(job, prompt, 1))
        assert image.info["seed"] == str(next(line["seed"] for line in lines if line["image"] == "p4.1"))
