"""The work queue: each key once, never two at a time, failures later and later."""

import asyncio
import random
import time

import pytest

from xdit_operator.queue import FIRST_BACKOFF, LONGEST_BACKOFF, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(clock, random.Random(1))


async def soon(queue: WorkQueue[str]) -> str:
    return await asyncio.wait_for(queue.get(), 1)


async def test_keys_come_once_and_in_order(queue: WorkQueue[str]) -> None:
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert [await soon(queue), await soon(queue)] == ["a", "b"]
    assert queue.depth == 0


async def test_a_key_added_while_it_runs_comes_again_after_it_is_done(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await soon(queue)
    queue.add("a")
    queue.add("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.05)
    queue.done("a")
    assert await soon(queue) == "a"
    queue.done("a")
    assert queue.depth == 0


async def test_two_workers_never_hold_one_key(queue: WorkQueue[str]) -> None:
    held: set[str] = set()
    seen = 0

    async def work() -> None:
        nonlocal seen
        while True:
            key = await queue.get()
            assert key not in held
            held.add(key)
            await asyncio.sleep(0.005)
            seen += 1
            held.discard(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    for _ in range(50):
        for key in "abc":
            queue.add(key)
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    for worker in workers:
        assert not worker.done()
        worker.cancel()
    assert 3 <= seen < 150
    assert queue.depth == 0


async def test_failures_wait_longer_and_longer_until_one_succeeds(queue: WorkQueue[str]) -> None:
    delays = [queue.failed("a") for _ in range(12)]
    for index, delay in enumerate(delays):
        base = min(FIRST_BACKOFF * 2**index, LONGEST_BACKOFF)
        assert 0.8 * base <= delay <= 1.2 * base
    queue.succeeded("a")
    assert queue.failed("a") <= 1.2 * FIRST_BACKOFF
    queue.wake("a", None)


async def test_a_later_wish_replaces_an_earlier_one(queue: WorkQueue[str]) -> None:
    queue.wake("a", 0.01)
    queue.wake("a", 30)
    await asyncio.sleep(0.05)
    assert queue.depth == 0
    started = time.monotonic()
    queue.wake("a", 0.02)
    assert await soon(queue) == "a"
    assert time.monotonic() - started >= 0.015
    queue.done("a")
    queue.wake("a", 0.01)
    queue.wake("a", None)
    await asyncio.sleep(0.05)
    assert queue.depth == 0


async def test_age_is_that_of_the_oldest_waiting_or_running_key(queue: WorkQueue[str], clock: Clock) -> None:
    assert queue.age == 0
    queue.add("a")
    clock.now += 5
    queue.add("b")
    assert queue.age == 5
    await soon(queue)
    clock.now += 2
    assert queue.age == 2
    await soon(queue)
    queue.done("a")
    queue.done("b")
    assert queue.age == 0
