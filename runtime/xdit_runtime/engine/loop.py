"""The loop of a lane: rank 0 says what is next, all ranks draw it, rank 0 gets the pictures.

Every rank goes through the same steps in the same order. Per batch they exchange two small messages on the CPU: whether
anyone was asked to stop, and the next pictures.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import asdict, dataclass
from functools import partial
from typing import Protocol

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_api.prompts import Prompt, image_seed
from xdit_api.report import Counts, LanePhase, LaneProgress, Outcome
from xdit_runtime.engine.base import Engine, Image, PromptError, Request
from xdit_runtime.engine.pulse import Every
from xdit_runtime.ledger.lane import Claim
from xdit_runtime.sink import Made
from xdit_runtime.volume import OutputVolumeError

PATIENCE = 10.0
"""Seconds that the other ranks wait for rank 0's word before it tells them that it is still there."""
COUNT_SECONDS = 10.0
"""Shortest time between two looks at the whole job's counts."""

SAY_SECONDS = 1.0
"""Shortest time between two words about the same phase."""


class Ledger(Protocol):
    """What rank 0 needs of the lane's ledger."""

    def claim(self, images: Callable[[Prompt], int], like: Prompt | None) -> list[Claim]:
        """Prompts of one shape that miss `images(prompt)` images; [] when nothing is unclaimed or stale."""

    def release_all(self) -> Sequence[Exception]:
        """Give all claims back; what went wrong meanwhile."""

    def fail(self, prompt: Prompt, reasons: Sequence[str]) -> None:
        """Nobody tries the prompt again."""

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

    def put(self, batch: Sequence[Made]) -> None:
        """Queue pictures; blocks while two batches wait. Raises what an earlier one met."""

    def drain(self) -> None:
        """Return when every queued picture is on the volume."""

    def close(self) -> None:
        """The last call."""


Report = Callable[[LaneProgress, Counts], None]
SayClaims = Callable[[Sequence[str]], None]
"""Takes the names of the claims that are being drawn; an empty list after that."""


class Control(Protocol):
    """What the ranks of a lane tell each other; see engine.groups."""

    def any(self, flag: bool) -> bool:
        """Whether any rank says yes."""

    def broadcast(self, message: Json | None) -> Json:
        """Rank 0's message, on every rank."""


class Chooser(Protocol):
    """What rank 0 asks the engine before anything is drawn."""

    def check(self, request: Request) -> None:
        """Raise PlanError or PromptError for a request that could not be run."""

    def batch(self, request: Request) -> int:
        """How many pictures like this one are drawn at once."""


@dataclass(frozen=True, slots=True)
class Todo:
    """One picture that a claim misses."""

    claim: Claim
    k: int


class Leader:
    """Rank 0: claims prompts, hands pictures to the writer, reports.

    The ledger is on a volume that may be slow, so its calls run beside the loop: the other ranks hear from us meanwhile.
    """

    def __init__(
        self,
        job: Job,
        lane: int,
        ledger: Ledger,
        sink: Sink,
        report: Report,
        say_claims: SayClaims,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._lane = lane
        self._ledger = ledger
        self._sink = sink
        self._report = report
        self._say_claims = say_claims
        self._clock = clock
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._pending: Future[Json] | None = None
        self._todo: deque[Todo] = deque()
        self._batch: list[Todo] = []
        self._completed = 0
        self._pace: float | None = None
        self._last_made: float | None = None
        self._said: LanePhase | None = None
        self._said_at = 0.0
        self._counts = Counts()
        self._refresh_counts = Every(COUNT_SECONDS, self._count, clock)

    def next(self, stop: bool, engine: Chooser) -> Json:
        """The next message for all ranks, within PATIENCE seconds. The last one is of kind 'end'."""
        if self._pending is None:
            self._pending = self._aside.submit(self._finish, "stopped") if stop else self._aside.submit(self._choose, engine)
        try:
            message = self._pending.result(timeout=PATIENCE)
        except NotYet:
            return {"kind": "wait"}
        self._pending = None
        # asked to stop while the claim was on its way: give it back
        return self.next(True, engine) if stop and message["kind"] == "draw" else message

    def step(self, done: int, steps: int) -> None:
        """Report a denoising step of the pictures in work."""
        self.say("Generating", prompt=self._batch[0].claim.prompt.id, step=done, steps=steps)

    def drawing(self) -> None:
        """The pictures of the last message are begun: a rank that dies now is charged to their claims."""
        self._say_claims(list(dict.fromkeys(todo.claim.name for todo in self._batch)))

    def made(self, images: Sequence[Image], seconds: float) -> None:
        """Give the pictures of the last message to the writer. Raises the writer's error of an earlier picture."""
        self._say_claims([])
        share = seconds / len(images)
        made = [Made(todo.claim.prompt, todo.k, image, share) for todo, image in zip(self._batch, images, strict=True)]
        self._batch = []
        self._sink.put(made)
        self._completed += len(images)
        now = self._clock()
        if self._last_made is not None:
            latest = (now - self._last_made) / len(images)
            self._pace = latest if self._pace is None else 0.8 * self._pace + 0.2 * latest
        self._last_made = now

    def abandon(self, error: Exception) -> None:
        """The volume failed: other lanes may do better with our claims. Says in `error` which could not be given back."""
        for problem in self._ledger.release_all():
            error.add_note(f"a claim could not be released: {problem}")

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

    def _request(self, prompt: Prompt, k: int) -> Request:
        return request_for(self._job, prompt, k)

    def _count(self) -> None:
        self._counts = self._ledger.counts()

    def _choose(self, engine: Chooser) -> Json:
        """The next batch, full if the shape has enough pictures left."""
        self._refresh_counts()

        def images(prompt: Prompt) -> int:
            return engine.batch(self._request(prompt, 0))

        while not self._todo:
            if not self._take(self._ledger.claim(images, None), engine):
                return self._finish("idle")
        like = self._todo[0].claim.prompt
        size = images(like)
        while len(self._todo) < size and self._take(self._ledger.claim(partial(_number, size - len(self._todo)), like), engine):
            pass
        self._batch = [self._todo.popleft() for _ in range(min(size, len(self._todo)))]
        return {"kind": "draw", "requests": [asdict(self._request(todo.claim.prompt, todo.k)) for todo in self._batch]}

    def _take(self, claims: Sequence[Claim], engine: Chooser) -> bool:
        """Queue what the engine can draw and fail the rest; False when there were no claims at all."""
        for claim in claims:
            try:
                for k in claim.missing:
                    engine.check(self._request(claim.prompt, k))
            except PromptError as error:
                self._ledger.fail(claim.prompt, [str(error)])
            else:
                self._todo.extend(Todo(claim, k) for k in claim.missing)
        return bool(claims)

    def _finish(self, unless_complete: Outcome) -> Json:
        """Write what is queued, give back what is not done, and decide how the lane ended."""
        self.say("Draining")
        self._sink.drain()
        self._todo.clear()
        self._batch = []
        for error in self._ledger.release_all():
            raise error
        outcome = "drained" if self._ledger.complete() else unless_complete
        self._count()
        self._sink.close()
        self._ledger.close()
        self.say("Done")
        return {"kind": "end", "outcome": outcome, "counts": self._counts.dump()}


def _number(images: int, _prompt: Prompt) -> int:
    return images


def request_for(job: Job, prompt: Prompt, k: int) -> Request:
    """What the engine needs to know of picture `k` of a prompt."""
    return Request(
        prompt=prompt.prompt,
        width=prompt.width,
        height=prompt.height,
        steps=prompt.steps,
        guidance_scale=prompt.guidance_scale,
        seed=image_seed(job.defaults.seed, prompt, k),
        negative_prompt=prompt.negative_prompt,
        inputs=prompt.inputs,
        digests=prompt.digests,
        strength=prompt.strength,
        loras=prompt.loras,
    )


def _request_of(message: Json) -> Request:
    loras = message["loras"]
    return Request(
        **{
            **message,
            "inputs": tuple(message["inputs"]),
            "digests": tuple(message["digests"]),
            "loras": None if loras is None else tuple((name, scale) for name, scale in loras),
        }
    )


def run(
    engine: Engine, control: Control, leader: Leader | None, *, alive: Callable[[], None], stop: Callable[[], bool]
) -> tuple[Outcome, Counts]:
    """Draw until the leader says that it is over; how it ended. `leader` is given on rank 0 only.

    alive: called at every step and while it waits. stop: whether this rank was asked to stop. Raises OutputVolumeError
    after it has given the lane's claims back.
    """
    try:
        return _run(engine, control, leader, alive=alive, stop=stop)
    except OutputVolumeError as error:
        if leader is not None:
            leader.abandon(error)
        raise


def _run(
    engine: Engine, control: Control, leader: Leader | None, *, alive: Callable[[], None], stop: Callable[[], bool]
) -> tuple[Outcome, Counts]:
    while True:
        stopping = control.any(stop())
        message = control.broadcast(None if leader is None else leader.next(stopping, engine))
        if message["kind"] == "end":
            return message["outcome"], Counts.model_validate(message["counts"])
        if message["kind"] == "wait":
            # waiting for another lane's claim to end is healthy
            alive()
            continue
        _draw([_request_of(item) for item in message["requests"]], engine, leader, alive)


def _draw(requests: Sequence[Request], engine: Engine, leader: Leader | None, alive: Callable[[], None]) -> None:
    def on_step(done: int, steps: int) -> None:
        alive()
        if leader is not None:
            leader.step(done, steps)

    for request in requests:
        # rank 0 did before it said so; a rank that finds another answer must not enter the first collective
        engine.check(request)
    if leader is not None:
        leader.drawing()
    started = time.monotonic()
    images = engine.generate(requests, on_step)
    alive()
    if leader is not None:
        assert images is not None
        leader.made(images, time.monotonic() - started)
