"""A keyed work queue: each key once, never two at a time, failures again after a growing delay."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 300.0


class WorkQueue(Generic[K]):
    """`add` is idempotent while a key waits; a key added while it is worked on comes again afterwards.

    clock: monotonic seconds. rng: for jitter.
    """

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._waiting: OrderedDict[K, float] = OrderedDict()
        self._running: dict[K, float] = {}
        self._again: dict[K, float] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._some = asyncio.Event()

    def add(self, key: K) -> None:
        """Work on `key` as soon as possible."""
        if key in self._running:
            self._again.setdefault(key, self._clock())
        else:
            self._waiting.setdefault(key, self._clock())
            self._some.set()

    def wake(self, key: K, seconds: float | None) -> None:
        """Add `key` after `seconds`; replaces an earlier wish. None: no wish."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if seconds is not None:
            self._timers[key] = asyncio.get_running_loop().call_later(max(0.0, seconds), self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def get(self) -> K:
        """The key that waits longest; it counts as running until `done`."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        key, _ = self._waiting.popitem(last=False)
        self._running[key] = self._clock()
        return key

    def done(self, key: K) -> None:
        """The work of `get` has ended, well or not."""
        self._running.pop(key, None)
        since = self._again.pop(key, None)
        if since is not None:
            self._waiting.setdefault(key, since)
            self._some.set()

    def failed(self, key: K) -> float:
        """Add `key` again after a delay that doubles with each failure in a row. Returns the delay in seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = min(FIRST_BACKOFF * (1 << min(count, 20)), LONGEST_BACKOFF) * self._rng.uniform(0.8, 1.2)
        self.wake(key, delay)
        return delay

    def succeeded(self, key: K) -> None:
        """The next failure of `key` is a first one again."""
        self._failures.pop(key, None)

    @property
    def depth(self) -> int:
        """Keys that wait."""
        return len(self._waiting) + len(self._again)

    @property
    def age(self) -> float:
        """Seconds that the oldest waiting or running key has been so."""
        since = [*self._waiting.values(), *self._running.values()]
        return self._clock() - min(since) if since else 0.0
