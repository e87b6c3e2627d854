"""The loop of a lane: rank 0 says what is next, all ranks draw it, rank 0 gets the picture.

Every rank goes through the same steps in the same order. Per picture they exchange two small messages on the CPU: whether
anyone was asked to stop, and the next prompt.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import asdict
from typing import Protocol

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_api.prompts import Prompt, image_seed
from xdit_api.report import Counts, LanePhase, LaneProgress, Outcome
from xdit_runtime.engine.base import Engine, Image, Request
from xdit_runtime.engine.groups import Control
from xdit_runtime.engine.pulse import Every

PATIENCE = 10.0
"""Seconds that the other ranks wait for rank 0's word before it tells them that it is still there."""
COUNT_SECONDS = 10.0
"""Shortest time between two looks at the whole job's counts."""

SAY_SECONDS = 1.0
"""Shortest time between two words about the same phase."""


class Ledger(Protocol):
    """What rank 0 needs of the lane's ledger."""

    def claim(self) -> Prompt | None:
        """The next prompt of this lane; None when nothing is unclaimed or stale."""

    def release(self, prompt_id: str) -> None:
        """Give a claim back."""

    def beat(self) -> None:
        """Keep the claims."""

    def counts(self) -> Counts:
        """Of the whole job, read from the volume."""

    def complete(self) -> bool:
        """Whether the whole job is."""

    def close(self) -> None:
        """The last call."""


class Sink(Protocol):
    """What rank 0 needs of the writer."""

    def put(self, prompt: Prompt, k: int, image: Image, seconds: float) -> None:
        """Queue a picture; blocks while two wait. Raises what an earlier one met."""

    def drain(self) -> None:
        """Return when every queued picture is on the volume."""

    def close(self) -> None:
        """The last call."""


Exists = Callable[[Prompt, int], bool]
"""Whether image k of a prompt is on the volume already."""
Report = Callable[[LaneProgress, Counts], None]


class Leader:
    """Rank 0: claims prompts, hands pictures to the writer, reports.

    The ledger is on a volume that may be slow, so its calls run beside the loop: the other ranks hear from us meanwhile.
    """

    def __init__(
        self,
        lane: int,
        ledger: Ledger,
        sink: Sink,
        exists: Exists,
        report: Report,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lane = lane
        self._ledger = ledger
        self._sink = sink
        self._exists = exists
        self._report = report
        self._clock = clock
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._pending: Future[Json] | None = None
        self._prompt: Prompt | None = None
        self._k = 0
        self._completed = 0
        self._pace: float | None = None
        self._last_made: float | None = None
        self._said: LanePhase | None = None
        self._said_at = 0.0
        self._counts = Counts()
        self._refresh_counts = Every(COUNT_SECONDS, self._count, clock)

    def next(self, stop: bool) -> Json:
        """The next message for all ranks, within PATIENCE seconds. The last one is of kind 'end'."""
        if self._pending is None:
            if self._prompt is not None and not stop:
                return self._image(self._prompt)
            self._pending = self._aside.submit(self._finish, "stopped") if stop else self._aside.submit(self._claim)
        try:
            message = self._pending.result(timeout=PATIENCE)
        except NotYet:
            return {"kind": "wait"}
        self._pending = None
        # asked to stop while the claim was on its way: give it back
        return self.next(True) if stop and message["kind"] == "image" else message

    def step(self, done: int, steps: int) -> None:
        """Report a denoising step of the picture in work."""
        assert self._prompt is not None
        self.say("Generating", prompt=self._prompt.id, step=done, steps=steps)

    def made(self, image: Image, seconds: float) -> None:
        """Give the picture of the last message to the writer. Raises the writer's error of an earlier picture."""
        assert self._prompt is not None
        self._sink.put(self._prompt, self._k, image, seconds)
        self._completed += 1
        now = self._clock()
        if self._last_made is not None:
            latest = now - self._last_made
            self._pace = latest if self._pace is None else 0.8 * self._pace + 0.2 * latest
        self._last_made = now
        self._go_to(self._k + 1)

    def beat(self) -> None:
        """Keep the lane's claims."""
        self._ledger.beat()

    def say(self, phase: LanePhase, *, prompt: str | None = None, step: int | None = None, steps: int | None = None) -> None:
        """Report where the lane is: every change of phase, and within one at most every SAY_SECONDS."""
        now = self._clock()
        if phase == self._said and now - self._said_at < SAY_SECONDS:
            return
        self._said, self._said_at = phase, now
        progress = LaneProgress(
            index=self._lane,
            phase=phase,
            prompt=prompt,
            step=step,
            steps=steps,
            completed=self._completed,
            seconds_per_image=None if self._pace is None else round(self._pace, 3),
        )
        self._report(progress, self._counts)

    def _go_to(self, k: int) -> None:
        """Go on with image k of the prompt, or the first later one that an earlier life of some lane has not made."""
        prompt = self._prompt
        assert prompt is not None
        while k < prompt.images and self._exists(prompt, k):
            k += 1
        self._k = k
        if k == prompt.images:
            self._prompt = None

    def _image(self, prompt: Prompt) -> Json:
        return {"kind": "image", "prompt": asdict(prompt), "k": self._k}

    def _count(self) -> None:
        self._counts = self._ledger.counts()

    def _claim(self) -> Json:
        self._refresh_counts()
        while (prompt := self._ledger.claim()) is not None:
            self._prompt = prompt
            self._go_to(0)
            if self._prompt is not None:
                return self._image(prompt)
        return self._finish("idle")

    def _finish(self, unless_complete: Outcome) -> Json:
        """Write what is queued, give back what is not done, and decide how the lane ended."""
        self.say("Draining")
        self._sink.drain()
        if self._prompt is not None:
            self._ledger.release(self._prompt.id)
            self._prompt = None
        outcome = "drained" if self._ledger.complete() else unless_complete
        self._count()
        self._sink.close()
        self._ledger.close()
        self.say("Done")
        return {"kind": "end", "outcome": outcome, "counts": self._counts.dump()}


def request_for(job: Job, prompt: Prompt, k: int) -> Request:
    """What the engine needs to know of picture `k` of a prompt."""
    return Request(
        prompt=prompt.prompt,
        width=prompt.width,
        height=prompt.height,
        steps=prompt.steps,
        guidance_scale=prompt.guidance_scale,
        seed=image_seed(job.defaults.seed, prompt, k),
    )


def run(
    job: Job, engine: Engine, control: Control, leader: Leader | None, *, alive: Callable[[], None], stop: Callable[[], bool]
) -> tuple[Outcome, Counts]:
    """Draw until the leader says that it is over; how it ended. `leader` is given on rank 0 only.

    alive: called at every step and while it waits. stop: whether this rank was asked to stop.
    """
    while True:
        stopping = control.any(stop())
        message = control.broadcast(None if leader is None else leader.next(stopping))
        if message["kind"] == "end":
            return message["outcome"], Counts.model_validate(message["counts"])
        if message["kind"] == "wait":
            # waiting for another lane's claim to end is healthy
            alive()
            continue
        prompt = Prompt(**message["prompt"])
        _draw(request_for(job, prompt, message["k"]), engine, leader, alive)


def _draw(request: Request, engine: Engine, leader: Leader | None, alive: Callable[[], None]) -> None:
    def on_step(done: int, steps: int) -> None:
        alive()
        if leader is not None:
            leader.step(done, steps)

    engine.check(request)
    started = time.monotonic()
    image = engine.generate(request, on_step)
    alive()
    if leader is not None:
        assert image is not None
        leader.made(image, time.monotonic() - started)
