"""The ledger as one lane uses it: what to do next, and what the whole job has done."""

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_api.prompts import Prompt, image_names
from xdit_api.report import Counts
from xdit_runtime.ledger import crashes, done
from xdit_runtime.ledger.claims import Claims, name_of
from xdit_runtime.ledger.crashes import Failed
from xdit_runtime.ledger.heartbeat import Heart, Watch
from xdit_runtime.ledger.journal import Journal
from xdit_runtime.ledger.opening import complete, failed_mask, open_prompts, settled, skipped
from xdit_runtime.ledger.order import walk
from xdit_runtime.ledger.owner import Owner
from xdit_runtime.paths import Layout
from xdit_runtime.prompts import FrozenPrompts
from xdit_runtime.prompts.frozen import Shape
from xdit_runtime.volume import OutputVolumeError, guarded

_OPEN, _TAKEN, _MINE, _DONE = range(4)
_WAIT_SECONDS = 1.0
"""Between two looks at claims whose owners may be dead."""
_COUNT_SECONDS = 3.0
"""Shortest time between two listings of the images for counts; 20 times their own duration when that is longer."""


@dataclass(frozen=True, slots=True)
class World:
    """What a lane's ledger takes from outside."""

    clock: Callable[[], float] = time.monotonic
    """Monotonic seconds."""
    sleep: Callable[[float], None] = time.sleep
    stop: Callable[[], bool] = lambda: False
    """Whether the lane was asked to stop."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A prompt that this lane works on."""

    prompt: Prompt
    generation: int
    missing: tuple[int, ...]
    """Its images that do not exist yet, from 0; at least one."""

    @property
    def name(self) -> str:
        """As the supervisor is told of it."""
        return name_of(self.prompt.id, self.generation)


def _one(_prompt: Prompt) -> int:
    return 1


class LaneLedger:
    """One incarnation of one lane. Safe to use from several threads; every method raises OutputVolumeError."""

    def __init__(
        self, job: Job, layout: Layout, prompts: FrozenPrompts, owner: Owner, heart: Heart, watch: Watch, lanes: int, world: World
    ) -> None:
        self.layout = layout
        self.owner = owner
        self._job = job
        self._prompts = prompts
        self._heart = heart
        self._watch = watch
        self._world = world
        self._claims = Claims(layout, owner)
        self._journal = Journal(layout.journal(str(owner)))
        self._lock = threading.RLock()
        self._wanted = done.wanted(prompts)
        self._finished = done.Finished(layout, prompts, world.clock)
        self._failed = Failed(layout)
        self._lost = np.zeros(len(prompts), dtype=np.bool_)
        self._state = bytearray(len(prompts))
        self._generation: dict[int, int] = {}
        self._mine: dict[str, int] = {}
        self._order = walk(prompts.bucket, owner.replica * lanes + owner.lane)
        self._next = 0
        self._scan = 0
        self._unknown = False
        self._skipped = skipped(layout)
        self._listing_seconds = 0.0
        self._next_listing = 0.0
        self._next_look = world.clock()
        self._look()
        self._inherit()

    def claim(self, images: Callable[[Prompt], int] = _one, like: Prompt | None = None) -> list[Claim]:
        """Prompts of one bucket that together miss at least `images(prompt)` images, or as many as there are; [] for none.

        `like`: only prompts of its bucket, without waiting. Else, when nothing is unclaimed or stale: never waits for
        others' live claims, but claims of owners that this lane has not seen alive are waited for: until the owner
        moves, until it has stood still for leaseSeconds and the claim is taken over, or until the lane is asked to stop.
        """
        while True:
            with self._lock:
                got = self._gather(images, like)
                if got or like is not None or not self._unknown or self._world.stop():
                    return got
            self._world.sleep(max(_WAIT_SECONDS, 20 * self._listing_seconds))

    def release(self, prompt_id: str) -> None:
        """Give a claimed prompt back: others may take it at once, this lane too."""
        with self._lock:
            position = self._mine.pop(prompt_id)
            self._state[position] = _TAKEN
            self._claims.give_back(prompt_id, self._generation[position])

    def release_all(self) -> list[OutputVolumeError]:
        """Give back whatever is claimed; the errors of those that could not be, whose claims go stale by themselves."""
        errors = []
        with self._lock:
            for prompt_id in list(self._mine):
                try:
                    self.release(prompt_id)
                except OutputVolumeError as error:
                    errors.append(error)
        return errors

    def fail(self, prompt: Prompt, reasons: Sequence[str]) -> None:
        """No lane of this resource tries the prompt again."""
        crashes.fail(self.layout, prompt, reasons)
        with self._lock:
            self._mine.pop(prompt.id, None)
            self._state[prompt.index] = _DONE
            self._lost[prompt.index] = True

    def shapes(self) -> list[Shape]:
        """Of all pictures of the job."""
        return self._prompts.shapes()

    def beat(self) -> None:
        """The lane has moved: keep its claims. Call it as often as you like."""
        self._heart.beat()
        now = self._world.clock()
        if now >= self._next_look:
            self._next_look = now + self._job.lease_seconds / 4
            self._watch.look()

    def counts(self) -> Counts:
        """The whole job as the volume shows it, a few seconds old at most."""
        with self._lock:
            if self._world.clock() >= self._next_listing:
                self._look()
            completed = done.count(self._finished.bits)
            return Counts(total=self._prompts.total, completed=completed, failed=int(self._lost.sum()), skipped=self._skipped)

    def complete(self) -> bool:
        """Whether every image of the whole job is on the volume now, or its prompt failed."""
        with self._lock:
            self._look(again=True)
            return complete(self._prompts, self._finished.bits, self._lost)

    def record(self, lines: Sequence[Json]) -> None:
        """Add lines to this incarnation's journal and wait until they are on the volume."""
        self._journal.append(lines)

    def wrote(self, prompt: Prompt, k: int) -> None:
        """Image k of a prompt has its final name; after the last one the claim is settled."""
        with self._lock:
            self._finished.bits[prompt.index] |= np.uint64(1 << k)
            if self._finished.bits[prompt.index] == self._wanted[prompt.index]:
                self._state[prompt.index] = _DONE
                self._mine.pop(prompt.id, None)

    def held(self, prompt_id: str) -> bool:
        """Whether this lane works on the prompt."""
        with self._lock:
            return prompt_id in self._mine

    def close(self) -> None:
        """Close the files. Claims that were not released stay: a crash would leave the same."""
        self._journal.close()
        self._prompts.close()

    def sweep(self) -> None:
        """Remove half-written files of this lane's earlier lives."""
        with guarded(self.layout.scratch):
            for path in self.layout.scratch.iterdir():
                if self._predecessor(path.name.partition(".")[0]):
                    path.unlink(missing_ok=True)

    def _inherit(self) -> None:
        """Look at every claim of the past: those of this lane's earlier lives, and given back ones, are open again."""
        listing = self._claims.listing()
        for (prompt_id, generation), position in zip(listing.items(), self._prompts.find(listing), strict=True):
            if position < 0 or self._state[position] == _DONE:
                continue
            self._generation[int(position)] = generation
            if not self._free(prompt_id, generation):
                self._state[position] = _TAKEN

    def _gather(self, images: Callable[[Prompt], int], like: Prompt | None) -> list[Claim]:
        bucket = None if like is None else int(self._prompts.bucket[like.index])
        claim = self._next_open(bucket) or self._take_over(bucket, again=True)
        if claim is None:
            return []
        bucket, enough = int(self._prompts.bucket[claim.prompt.index]), images(claim.prompt)
        got, missing = [claim], len(claim.missing)
        while missing < enough and (claim := self._next_open(bucket) or self._take_over(bucket, again=False)) is not None:
            got.append(claim)
            missing += len(claim.missing)
        return got

    def _next_open(self, bucket: int | None) -> Claim | None:
        while self._next < len(self._order):
            position = int(self._order[self._next])
            if bucket is not None and self._prompts.bucket[position] != bucket:
                return None
            self._next += 1
            if self._state[position] == _OPEN:
                claim = self._take(position)
                if claim is not None:
                    return claim
        return None

    def _take_over(self, bucket: int | None, *, again: bool) -> Claim | None:
        """Everything was asked for once: look at what others claimed but did not finish. again: from the first prompt."""
        if self._next < len(self._order):
            return None
        if again:
            self._look()
            self._unknown = False
            self._scan = 0
        position = self._state.find(_TAKEN, self._scan)
        while position >= 0:
            self._scan = position + 1
            if bucket is None or self._prompts.bucket[position] == bucket:
                claim = self._take_if_free(position)
                if claim is not None:
                    return claim
            position = self._state.find(_TAKEN, position + 1)
        return None

    def _take_if_free(self, position: int) -> Claim | None:
        prompt_id = self._prompts[position].id
        generation = self._claims.highest(prompt_id, self._generation.get(position, 0))
        self._generation[position] = generation
        return self._take(position) if self._free(prompt_id, generation) else None

    def _take(self, position: int) -> Claim | None:
        prompt = self._prompts[position]
        generation = self._generation.get(position, 0)
        if generation >= crashes.CRASHES:
            found = crashes.crashes(self.layout, prompt.id, generation)
            if crashes.poisonous(found):
                self.fail(prompt, [crash.reason for crash in found])
                return None
        generation += 1
        self._generation[position] = generation
        if not self._claims.take(prompt.id, generation):
            self._state[position] = _TAKEN
            return None
        missing = self._missing(prompt)
        if not missing:
            self._state[position] = _DONE
            return None
        self._state[position] = _MINE
        self._mine[prompt.id] = position
        return Claim(prompt, generation, missing)

    def _free(self, prompt_id: str, generation: int) -> bool:
        """Whether the owner gave the claim back or will not come back for it."""
        name = self._claims.owner(prompt_id, generation)
        if name is None or self._predecessor(name):
            return True
        stale = self._watch.still_for(name) >= self._job.lease_seconds
        self._unknown |= not stale and not self._watch.moved(name)
        return stale

    def _predecessor(self, name: str) -> bool:
        owner = Owner.parse(name)
        return owner is not None and owner.same_lane(self.owner) and self._watch.job_of(name) == self._job.uid

    def _missing(self, prompt: Prompt) -> tuple[int, ...]:
        with guarded(self.layout.images):
            return tuple(k for k, name in enumerate(image_names(prompt)) if not self.layout.image(name).exists())

    def _look(self, *, again: bool = False) -> None:
        started = self._world.clock()
        if again:
            self._finished.look_again()
        else:
            self._finished.look()
        self._lost = failed_mask(self._prompts, self._failed.look())
        ended = self._world.clock()
        self._listing_seconds = ended - started
        self._next_listing = ended + max(_COUNT_SECONDS, 20 * self._listing_seconds)
        # a view on the same bytes
        np.frombuffer(self._state, dtype=np.uint8)[(self._finished.bits == self._wanted) | self._lost] = _DONE


def open_lane(
    job: Job,
    *,
    replica: int,
    lane: int,
    lanes: int,
    pod_uid: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    stop: Callable[[], bool] = lambda: False,
) -> LaneLedger:
    """Start an incarnation of a lane. lanes: lanes of a replica. clock: monotonic seconds. stop: ends a wait in `claim`.

    Raises PromptFileError, IdentityMismatchError, OutputVolumeError. Preflight has agreed on the identity before.
    """
    layout = Layout.of(job)
    with guarded(layout.root):
        layout.make()
    prompts = open_prompts(job, layout)
    layout = settled(layout)
    watch = Watch(layout.lanes, clock)
    watch.look()
    owner, heart = _new_life(
        layout, job.uid, Owner(replica, lane, pod_uid.replace("-", "")[:8], time.time_ns() // 1_000_000), clock
    )
    ledger = LaneLedger(job, layout, prompts, owner, heart, watch, lanes, World(clock, sleep, stop))
    ledger.sweep()
    return ledger


def _new_life(layout: Layout, job_uid: str, owner: Owner, clock: Callable[[], float]) -> tuple[Owner, Heart]:
    while True:
        heart = Heart(layout.lanes / str(owner), job_uid, clock)
        if heart.start():
            return owner, heart
        owner = dataclasses.replace(owner, start=owner.start + 1)
