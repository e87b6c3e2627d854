"""The leader's decisions with a ledger and a writer in memory; one lane of two real ranks is in test_lane.py."""

import threading
from typing import Any

import numpy as np
import pytest

from xdit_api.prompts import Prompt
from xdit_api.report import Counts, LaneProgress
from xdit_runtime.engine import loop
from xdit_runtime.engine.base import Image

IMAGE: Image = np.zeros((64, 64, 3), dtype=np.uint8)


def prompt(identifier: str, images: int = 1) -> Prompt:
    return Prompt(0, identifier, identifier, "", None, 64, 64, 4, 3.5, images)


class MemoryLedger:
    def __init__(self, prompts: list[Prompt], *, elsewhere: int = 0) -> None:
        self.todo = prompts
        self.elsewhere = elsewhere
        self.released: list[str] = []
        self.done = 0
        self.calls: list[str] = []

    def claim(self) -> Prompt | None:
        return self.todo.pop(0) if self.todo else None

    def release(self, prompt_id: str) -> None:
        self.calls.append("release")
        self.released.append(prompt_id)

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
        self.put_: list[tuple[str, int]] = []
        self.failing: Exception | None = None

    def put(self, prompt: Prompt, k: int, image: Image, seconds: float) -> None:
        if self.failing:
            raise self.failing
        assert image is IMAGE
        assert seconds >= 0
        self.put_.append((prompt.id, k))

    def drain(self) -> None:
        self.ledger.calls.append("drain")
        self.ledger.done = len(self.put_)

    def close(self) -> None:
        self.ledger.calls.append("close sink")


class World:
    def __init__(self, prompts: list[Prompt], *, elsewhere: int = 0) -> None:
        self.now = 0.0
        self.said: list[LaneProgress] = []
        self.ledger = MemoryLedger(prompts, elsewhere=elsewhere)
        self.sink = MemorySink(self.ledger)
        self.there: set[tuple[str, int]] = set()
        self.leader = loop.Leader(
            3,
            self.ledger,
            self.sink,
            lambda prompt, k: (prompt.id, k) in self.there,
            lambda progress, _counts: self.said.append(progress),
            self.clock,
        )

    def clock(self) -> float:
        return self.now

    def draw(self, times: int) -> list[Any]:
        messages = []
        for _ in range(times):
            messages.append(self.leader.next(False))
            assert messages[-1]["kind"] == "image", messages
            self.leader.made(IMAGE, 0.5)
        return messages


def test_every_image_of_every_prompt_then_drained() -> None:
    world = World([prompt("a"), prompt("b", images=3)])
    world.draw(4)
    assert world.leader.next(False) == {"kind": "end", "outcome": "drained", "counts": Counts(total=9, completed=4).dump()}
    assert world.sink.put_ == [("a", 0), ("b", 0), ("b", 1), ("b", 2)]
    assert world.ledger.calls == ["drain", "close sink", "close ledger"]


def test_images_of_a_prompt_that_an_earlier_life_made_are_not_made_again() -> None:
    world = World([prompt("a", images=4), prompt("b", images=2), prompt("c")])
    world.there = {("a", 0), ("a", 2), ("b", 0), ("b", 1)}
    messages = world.draw(3)
    assert [(m["prompt"]["id"], m["k"]) for m in messages] == [("a", 1), ("a", 3), ("c", 0)]
    assert world.sink.put_ == [("a", 1), ("a", 3), ("c", 0)]
    assert world.leader.next(False)["outcome"] == "drained"


def test_nothing_left_while_others_work_is_idle() -> None:
    world = World([prompt("a")], elsewhere=1)
    world.draw(1)
    assert world.leader.next(False)["outcome"] == "idle"


def test_stop_in_the_middle_of_a_prompt_gives_it_back_after_its_pictures_are_written() -> None:
    world = World([prompt("a", images=2), prompt("b")])
    world.draw(1)
    assert world.leader.next(True)["outcome"] == "stopped"
    assert world.ledger.released == ["a"]
    assert world.ledger.calls == ["drain", "release", "close sink", "close ledger"]


def test_stop_at_a_prompt_boundary_claims_nothing() -> None:
    world = World([prompt("a"), prompt("b")])
    world.draw(1)
    assert world.leader.next(True)["outcome"] == "stopped"
    assert [p.id for p in world.ledger.todo] == ["b"]
    assert world.ledger.released == []


def test_stop_after_the_last_image_is_drained() -> None:
    world = World([prompt("a")])
    world.draw(1)
    assert world.leader.next(True)["outcome"] == "drained"


def test_a_slow_volume_makes_the_others_wait_not_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PATIENCE", 0.01)
    world = World([prompt("a")])
    ready = threading.Event()
    claim = world.ledger.claim

    def slow_claim() -> Prompt | None:
        assert ready.wait(10)
        return claim()

    monkeypatch.setattr(world.ledger, "claim", slow_claim)
    assert world.leader.next(False) == {"kind": "wait"}
    # a stop that comes meanwhile waits for the claim, which must not be lost
    assert world.leader.next(True) == {"kind": "wait"}
    ready.set()
    monkeypatch.setattr(loop, "PATIENCE", 10.0)
    assert world.leader.next(True)["outcome"] == "stopped"
    assert world.ledger.released == ["a"]


def test_an_error_of_the_volume_ends_the_lane() -> None:
    world = World([prompt("a"), prompt("b")])
    world.draw(1)
    world.sink.failing = OSError("no space left")
    world.leader.next(False)
    with pytest.raises(OSError, match="no space"):
        world.leader.made(IMAGE, 0.5)


def test_an_error_of_the_ledger_comes_out() -> None:
    world = World([])

    def broken() -> Prompt | None:
        raise OSError("stale file handle")

    world.ledger.claim = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="stale"):
        world.leader.next(False)


def test_progress_is_told_on_every_change_of_phase_and_once_a_second() -> None:
    world = World([prompt("a"), prompt("b"), prompt("c")])
    world.leader.say("Loading")
    for _ in range(3):
        world.leader.next(False)
        for step in range(1, 5):
            world.now += 0.5
            world.leader.step(step, 4)
        world.leader.made(IMAGE, 2.0)
    world.leader.next(False)
    assert [p.phase for p in world.said] == ["Loading", *["Generating"] * 6, "Draining", "Done"]
    assert [p.step for p in world.said[1:7]] == [1, 3, 1, 3, 1, 3]
    last = world.said[-1]
    assert (last.index, last.completed, last.seconds_per_image) == (3, 3, 2.0)
