"""The leader's decisions with a ledger and a writer in memory; lanes of real ranks are in tests/parity and tests/kill."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.runtime.jobs import make_job
from xdit_api.prompts import Prompt
from xdit_api.report import Counts, LaneProgress
from xdit_runtime.engine import loop
from xdit_runtime.engine.base import Image, OnPart, OnStep, PlanError, PromptError, Request, World
from xdit_runtime.engine.groups import Control
from xdit_runtime.ledger import Claim, OutputVolumeError
from xdit_runtime.sink import Made

IMAGE: Image = np.zeros((64, 64, 3), dtype=np.uint8)


def claim(identifier: str, images: int = 1, *, there: Sequence[int] = (), width: int = 64) -> Claim:
    prompt = Prompt(0, identifier, identifier, "", None, width, 64, 4, 3.5, images)
    return Claim(prompt, 1, tuple(k for k in range(images) if k not in there))


class MemoryLedger:
    """A shape is a width."""

    def __init__(self, claims: list[Claim], *, elsewhere: int = 0) -> None:
        self.todo = claims
        self.mine: dict[str, int] = {}
        """Images that are missing."""
        self.elsewhere = elsewhere
        self.released: list[str] = []
        self.failed: dict[str, list[str]] = {}
        self.done = 0
        self.calls: list[str] = []
        self.broken: list[Exception] = []

    def claim(self, images: Callable[[Prompt], int], like: Prompt | None) -> list[Claim]:
        got: list[Claim] = []
        while self.todo and (like is None or like.width == self.todo[0].prompt.width):
            like = self.todo[0].prompt
            got.append(self.todo.pop(0))
            self.mine[got[-1].prompt.id] = len(got[-1].missing)
            if sum(len(c.missing) for c in got) >= images(like):
                break
        return got

    def release_all(self) -> Sequence[Exception]:
        self.calls.append("release")
        self.released += self.mine
        self.mine = {}
        return self.broken

    def fail(self, prompt: Prompt, reasons: Sequence[str]) -> None:
        self.failed[prompt.id] = list(reasons)
        del self.mine[prompt.id]

    def beat(self) -> None: ...

    def counts(self) -> Counts:
        return Counts(total=9, completed=self.done)

    def complete(self) -> bool:
        return not self.todo and not self.released and not self.elsewhere

    def close(self) -> None:
        self.calls.append("close ledger")


class MemorySink:
    def __init__(self, ledger: MemoryLedger) -> None:
        self.ledger = ledger
        self.batches: list[list[tuple[str, int]]] = []
        self.failing: Exception | None = None

    def put(self, batch: Sequence[Made]) -> None:
        if self.failing:
            raise self.failing
        self.batches.append([(made.prompt.id, made.k) for made in batch])
        for made in batch:
            self.ledger.mine[made.prompt.id] -= 1
            if not self.ledger.mine[made.prompt.id]:
                del self.ledger.mine[made.prompt.id]

    def drain(self) -> None:
        self.ledger.calls.append("drain")
        self.ledger.done = sum(map(len, self.batches))

    def close(self) -> None:
        self.ledger.calls.append("close sink")


class Drawer:
    """An engine that draws black; `no` are the prompts that it refuses."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.no: dict[str, Exception] = {}
        self.during: Callable[[], None] = lambda: None
        self.drawn: list[list[Request]] = []

    def load(self, on_part: OnPart) -> None: ...

    def check(self, request: Request) -> None:
        if request.prompt in self.no:
            raise self.no[request.prompt]

    def batch(self, request: Request) -> int:
        return self.size

    def generate(self, requests: Sequence[Request], on_step: OnStep) -> list[Image] | None:
        self.drawn.append(list(requests))
        on_step(1, 4)
        self.during()
        return [IMAGE for _ in requests]

    def close(self) -> None: ...


class Lane:
    def __init__(self, tmp_path: Path, claims: list[Claim], *, size: int = 1, elsewhere: int = 0) -> None:
        self.now = 0.0
        self.said: list[LaneProgress] = []
        self.claims_said: list[list[str]] = []
        self.ledger = MemoryLedger(claims, elsewhere=elsewhere)
        self.sink = MemorySink(self.ledger)
        self.engine = Drawer(size)
        self.stop = False
        self.leader = loop.Leader(
            make_job(tmp_path),
            3,
            self.ledger,
            self.sink,
            lambda progress, _counts: self.said.append(progress),
            lambda claims: self.claims_said.append(list(claims)),
            lambda: self.now,
        )

    def run(self) -> tuple[str, Counts]:
        from datetime import timedelta

        control = Control(World(0, 0, 1, "cpu", timedelta(seconds=9)))
        return loop.run(self.engine, control, self.leader, alive=lambda: None, stop=lambda: self.stop)

    def stop_after(self, batches: int) -> None:
        def during() -> None:
            self.stop = len(self.engine.drawn) >= batches

        self.engine.during = during


def test_every_image_of_every_prompt_then_drained(tmp_path: Path) -> None:
    lane = Lane(tmp_path, [claim("a"), claim("b", images=3)])
    assert lane.run() == ("drained", Counts(total=9, completed=4))
    assert lane.sink.batches == [[("a", 0)], [("b", 0)], [("b", 1)], [("b", 2)]]
    assert lane.ledger.calls == ["drain", "release", "close sink", "close ledger"]


def test_batches_are_full_whatever_the_prompts_images_and_hold_one_shape(tmp_path: Path) -> None:
    claims = [claim("a"), claim("b", images=6), claim("c"), claim("d", images=2), claim("e", width=128)]
    lane = Lane(tmp_path, claims, size=4)
    lane.run()
    assert [len(batch) for batch in lane.sink.batches] == [4, 4, 2, 1]
    assert lane.sink.batches[1] == [("b", 3), ("b", 4), ("b", 5), ("c", 0)]
    assert lane.sink.batches[3] == [("e", 0)]
    assert lane.claims_said == [["a.1", "b.1"], [], ["b.1", "c.1"], [], ["d.1"], [], ["e.1"], []]
    # each has its own seed, whatever it is drawn with
    assert len({request.seed for batch in lane.engine.drawn for request in batch}) == 11


def test_images_of_a_prompt_that_an_earlier_life_made_are_not_made_again(tmp_path: Path) -> None:
    lane = Lane(tmp_path, [claim("a", images=4, there=[0, 2]), claim("c")])
    assert lane.run()[0] == "drained"
    assert lane.sink.batches == [[("a", 1)], [("a", 3)], [("c", 0)]]


def test_nothing_left_while_others_work_is_idle(tmp_path: Path) -> None:
    assert Lane(tmp_path, [claim("a")], elsewhere=1).run()[0] == "idle"


def test_a_prompt_that_the_engine_refuses_fails_and_the_others_go_on(tmp_path: Path) -> None:
    lane = Lane(tmp_path, [claim("a"), claim("bad", images=2), claim("c"), claim("worse")], size=2)
    lane.engine.no = {"bad": PromptError("too long"), "worse": PromptError("no such LoRA")}
    assert lane.run()[0] == "drained"
    assert lane.ledger.failed == {"bad": ["too long"], "worse": ["no such LoRA"]}
    assert lane.sink.batches == [[("a", 0), ("c", 0)]]


def test_a_plan_that_the_engine_refuses_ends_the_lane(tmp_path: Path) -> None:
    lane = Lane(tmp_path, [claim("a"), claim("b")])
    lane.engine.no = {"b": PlanError("8 heads do not divide by 3")}
    with pytest.raises(PlanError, match="8 heads"):
        lane.run()
    assert lane.ledger.failed == {}


def test_stop_in_the_middle_of_a_prompt_gives_it_back_after_its_pictures_are_written(tmp_path: Path) -> None:
    lane = Lane(tmp_path, [claim("a", images=2), claim("b")])
    lane.stop_after(1)
    assert lane.run()[0] == "stopped"
    assert lane.sink.batches == [[("a", 0)]]
    assert lane.ledger.released == ["a"]
    assert lane.ledger.calls == ["drain", "release", "close sink", "close ledger"]


def test_stop_at_a_prompt_boundary_claims_nothing(tmp_path: Path) -> None:
    lane = Lane(tmp_path, [claim("a"), claim("b")])
    lane.stop_after(1)
    assert lane.run()[0] == "stopped"
    assert [c.prompt.id for c in lane.ledger.todo] == ["b"]
    assert lane.ledger.released == []


def test_stop_after_the_last_image_is_drained(tmp_path: Path) -> None:
    lane = Lane(tmp_path, [claim("a")])
    lane.stop_after(1)
    assert lane.run()[0] == "drained"


def test_a_slow_volume_makes_the_others_wait_not_time_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PATIENCE", 0.01)
    lane = Lane(tmp_path, [claim("a")])
    ready = threading.Event()
    fast = lane.ledger.claim

    def slow(images: Callable[[Prompt], int], like: Prompt | None) -> list[Claim]:
        assert ready.wait(10)
        return fast(images, like)

    monkeypatch.setattr(lane.ledger, "claim", slow)
    assert lane.leader.next(False, lane.engine) == {"kind": "wait"}
    # a stop that comes meanwhile waits for the claim, which must not be lost
    assert lane.leader.next(True, lane.engine) == {"kind": "wait"}
    ready.set()
    monkeypatch.setattr(loop, "PATIENCE", 10.0)
    assert lane.leader.next(True, lane.engine)["outcome"] == "stopped"
    assert lane.ledger.released == ["a"]


def test_an_error_of_the_volume_ends_the_lane_and_gives_its_claims_back(tmp_path: Path) -> None:
    lane = Lane(tmp_path, [claim("a"), claim("b", images=3)], size=2)
    lane.sink.failing = OutputVolumeError("no space left")
    lane.ledger.broken = [OutputVolumeError("read-only")]
    with pytest.raises(OutputVolumeError, match="no space") as raised:
        lane.run()
    assert lane.ledger.released == ["a", "b"]
    assert raised.value.__notes__ == ["a claim could not be released: read-only"]


def test_an_error_of_the_ledger_comes_out(tmp_path: Path) -> None:
    lane = Lane(tmp_path, [])

    def broken(_images: Any, _like: Any) -> list[Claim]:
        raise OSError("stale file handle")

    lane.ledger.claim = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(OSError, match="stale"):
        lane.run()


def test_a_request_survives_its_way_to_the_other_ranks(tmp_path: Path) -> None:
    prompt = Prompt(
        0, "a", "a", "ugly", None, 64, 64, 4, 3.5, 1, inputs=("/x.png",), digests=("ab",), strength=0.5, loras=(("ink", 0.8),)
    )
    lane = Lane(tmp_path, [Claim(prompt, 1, (0,))])
    lane.run()
    assert lane.engine.drawn == [[loop.request_for(make_job(tmp_path), prompt, 0)]]
    assert lane.engine.drawn[0][0].loras == (("ink", 0.8),)
    assert lane.engine.drawn[0][0].negative_prompt == "ugly"
    assert lane.engine.drawn[0][0].digests == ("ab",)


def test_progress_is_told_on_every_change_of_phase_and_once_a_second(tmp_path: Path) -> None:
    lane = Lane(tmp_path, [claim("a"), claim("b"), claim("c")])
    lane.leader.say("Loading")
    for _ in range(3):
        lane.leader.next(False, lane.engine)
        for step in range(1, 5):
            lane.now += 0.5
            lane.leader.step(step, 4)
        lane.leader.made([IMAGE], 2.0)
    lane.leader.next(False, lane.engine)
    assert [p.phase for p in lane.said] == ["Loading", *["Generating"] * 6, "Draining", "Done"]
    assert [p.step for p in lane.said[1:7]] == [1, 3, 1, 3, 1, 3]
    last = lane.said[-1]
    assert (last.index, last.completed, last.seconds_per_image) == (3, 3, 2.0)
