"""200 prompts on 2 replicas of 2 lanes under their real supervisors while processes are killed and one is stopped."""

import hashlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.kill.cluster import Rank, Replica
from tests.kill.rank import drawn_dir
from tests.unit.runtime.jobs import make_job, picture
from xdit_api.job import Job
from xdit_runtime.ledger import claims
from xdit_runtime.ledger.opening import open_prompts
from xdit_runtime.paths import Layout

PROMPTS = 200
SECONDS_PER_PICTURE = 0.4
EVERY = 2.5
"""Seconds between two kills."""
LEASE = 10
PATIENCE = 240.0


@dataclass
class Chaos:
    """Kills, and remembers whom: what a killed life had claimed may be drawn again, nothing else may."""

    layout: Layout
    random: random.Random
    gone: dict[str, str] = field(default_factory=dict)
    """Life of a lane → what happened to it."""
    stopped: Rank | None = None
    strikes: int = 0

    def strike(self, replicas: list[Replica]) -> None:
        """One process of one replica."""
        self.strikes += 1
        replica = self.random.choice(replicas)
        ranks = [rank for rank in replica.ranks() if self.stopped is None or rank.pid != self.stopped.pid]
        if not ranks:
            return
        if self.strikes % 4 == 2 and len(ranks) == 2:
            self.gone |= {rank.owner: "supervisor killed" for rank in ranks}
            replica.kill()
        else:
            self._kill_rank(self.random.choice(ranks))

    def _kill_rank(self, rank: Rank) -> None:
        os.kill(rank.pid, signal.SIGSTOP)
        # twice is enough to fail a prompt, which is right and not what is tested here
        if any(self._crashed_before(claim) for claim in rank.claims):
            os.kill(rank.pid, signal.SIGCONT)
        else:
            self.gone[rank.owner] = "rank killed"
            os.kill(rank.pid, signal.SIGKILL)

    def _crashed_before(self, claim: str) -> bool:
        parsed = claims.parse(claim)
        assert parsed is not None
        return any(self.layout.crashed(parsed[0], n).exists() for n in range(1, parsed[1] + 1))

    def stop_one(self, replicas: list[Replica]) -> None:
        """SIGSTOP a rank in the middle of a picture."""
        for rank in (rank for replica in replicas for rank in replica.ranks()):
            os.kill(rank.pid, signal.SIGSTOP)
            if rank.claims and not any(self._crashed_before(claim) for claim in rank.claims):
                self.stopped = rank
                self.gone[rank.owner] = "stopped past its lease"
                return
            os.kill(rank.pid, signal.SIGCONT)

    def robbed(self) -> bool:
        """Whether another lane has taken over what the stopped one was drawing."""
        assert self.stopped is not None
        parsed = [parsed for claim in self.stopped.claims if (parsed := claims.parse(claim)) is not None]
        return all(self.layout.claim(prompt_id, generation + 1).exists() for prompt_id, generation in parsed)


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[Replica]]:
    job = make_job(
        tmp_path, PROMPTS, gpus=2, gpusPerPod=2, degrees={"lanes": 2}, leaseSeconds=LEASE, stallSeconds=300,
        defaults={"width": 64, "height": 64, "steps": 4},
    )  # fmt: skip
    drawn_dir(job.output.path).mkdir()
    env = {
        "XDIT_RANK_MODULE": "tests.kill.rank",
        "XDIT_LAUNCH_MODULE": "tests.unit.runtime.launcher",
        "XDIT_TEST_SECONDS": str(SECONDS_PER_PICTURE),
    }
    made = [Replica(tmp_path / "pods", job, index, env) for index in (0, 1)]
    yield made
    for replica in made:
        replica.clean()


def images(layout: Layout) -> int:
    return len(list(layout.images.glob("*.png"))) if layout.images.exists() else 0


def run(replicas: list[Replica], chaos: Chaos) -> None:
    """What an operator does: starts pods that died, and those that were idle too soon; until one says that all is done."""
    deadline = time.monotonic() + PATIENCE
    next_strike = time.monotonic() + 4
    continued = False
    for replica in replicas:
        replica.start()
    while True:
        output = "\n".join(replica.output for replica in replicas)
        assert time.monotonic() < deadline, output
        ended = [replica.ended() for replica in replicas]
        results = [replica.result for replica in replicas]
        if any(result is not None and result.outcome == "drained" for result in results):
            break
        for replica, result in zip(replicas, results, strict=True):
            # one that is idle waits for the other to end: its claims are alive
            if replica.ended() and (result is None or result.outcome != "idle" or all(ended)):
                replica.start()
        made = images(chaos.layout)
        if chaos.stopped is None and made > PROMPTS // 2:
            chaos.stop_one(replicas)
        if chaos.stopped is not None and not continued and chaos.robbed():
            os.kill(chaos.stopped.pid, signal.SIGCONT)
            continued = True
        if time.monotonic() >= next_strike and made < PROMPTS * 3 // 4:
            next_strike = time.monotonic() + EVERY
            chaos.strike([replica for replica in replicas if chaos.stopped is None or not holds(replica, chaos.stopped)])
        time.sleep(0.1)
    assert continued, "nobody took over what the stopped lane held"
    for replica in replicas:
        while not replica.ended():
            assert time.monotonic() < deadline, replica.output
            time.sleep(0.1)


def holds(replica: Replica, rank: Rank) -> bool:
    return rank.lane_dir.is_relative_to(replica.pod)


@pytest.mark.timeout(300)
def test_every_image_exactly_once_whatever_is_killed(replicas: list[Replica]) -> None:
    job = replicas[0].job
    layout = Layout.of(job)
    chaos = Chaos(layout, random.Random(4))
    run(replicas, chaos)

    assert {code for replica in replicas for code in replica.exits} <= {0, -signal.SIGKILL}
    kinds = Counter(chaos.gone.values())
    assert kinds["rank killed"] >= 3, kinds
    assert kinds["supervisor killed"] >= 2, kinds
    assert kinds["stopped past its lease"] == 1, kinds
    whole(job, layout)
    no_more_than_explained(job, layout, chaos)
    print(f"{dict(kinds)}; {sum(drawn(job).values())} pictures drawn for {PROMPTS}; exits {[r.exits for r in replicas]}")


def whole(job: Job, layout: Layout) -> None:
    """Each image once in the manifest, each with its own pixels, nothing else and nothing half."""
    prompts = open_prompts(job, layout)
    lines = [json.loads(line) for line in layout.manifest.read_text().splitlines()]
    assert [line["id"] for line in lines] == [prompts[n].id for n in range(PROMPTS)]
    assert sorted(path.name for path in layout.images.iterdir()) == sorted(line["file"] for line in lines)
    for n, line in enumerate(lines):
        path = layout.images / line["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == line["sha256"], path
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), picture(job, prompts[n], 0)), path
        with Image.open(layout.thumbnail(line["image"])) as small:
            small.load()
    assert not list(layout.failed.iterdir())
    assert layout.index.read_text().count("<figure>") == PROMPTS


def drawn(job: Job) -> Counter[str]:
    return Counter(text for path in drawn_dir(job.output.path).iterdir() for text in path.read_text().splitlines())


def no_more_than_explained(job: Job, layout: Layout, chaos: Chaos) -> None:
    """Every generation of a claim but the last was ended by something that was done to its owner."""
    times = drawn(job)
    prompts = open_prompts(job, layout)
    for n in range(PROMPTS):
        prompt = prompts[n]
        owners: list[str] = []
        while layout.claim(prompt.id, len(owners) + 1).exists():
            owners.append(layout.claim(prompt.id, len(owners) + 1).read_text())
        for generation, owner in enumerate(owners[:-1], 1):
            assert owner in chaos.gone or layout.released(prompt.id, generation).exists(), (prompt.id, owners, chaos.gone)
        assert 1 <= times[prompt.prompt] <= len(owners), (prompt.id, owners)
