"""The ledger as one lane uses it: what to do next, and what the whole job has done."""

import dataclasses
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_api.prompts import Prompt, image_names
from xdit_api.report import Counts
from xdit_runtime.ledger import done
from xdit_runtime.ledger.claims import Claims
from xdit_runtime.ledger.heartbeat import Heart, Watch
from xdit_runtime.ledger.journal import Journal
from xdit_runtime.ledger.opening import open_prompts, skipped
from xdit_runtime.ledger.owner import Owner
from xdit_runtime.paths import Layout
from xdit_runtime.prompts import FrozenPrompts
from xdit_runtime.volume import guarded

_OPEN, _TAKEN, _MINE, _DONE = range(4)
_WAIT_SECONDS = 1.0
"""Between two looks at claims whose owners may be dead."""
_COUNT_SECONDS = 3.0
"""Shortest time between two listings of the images for counts; 20 times their own duration when that is longer."""


def first_position(replica: int, lane: int, lanes: int, prompts: int) -> int:
    """Where a lane starts to look. Any number of lanes is spread over the file, without knowing how many there are."""
    number, fraction, weight = replica * lanes + lane, 0.0, 0.5
    while number:
        fraction += weight * (number & 1)
        number, weight = number >> 1, weight / 2
    return math.floor(fraction * prompts)


@dataclass(frozen=True, slots=True)
class World:
    """What a lane's ledger takes from outside."""

    clock: Callable[[], float] = time.monotonic
    """Monotonic seconds."""
    sleep: Callable[[float], None] = time.sleep
    stop: Callable[[], bool] = lambda: False
    """Whether the lane was asked to stop."""


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
        self._bits = np.zeros_like(self._wanted)
        self._state = bytearray(len(prompts))
        self._generation: dict[int, int] = {}
        self._mine: dict[str, int] = {}
        self._cursor = first_position(owner.replica, owner.lane, lanes, len(prompts))
        self._left = len(prompts)
        self._unknown = False
        self._skipped = skipped(layout)
        self._listing_seconds = 0.0
        self._next_listing = 0.0
        self._next_look = world.clock()
        self._list()
        self._inherit()

    def claim(self) -> Prompt | None:
        """The next prompt to work on; None when nothing is unclaimed or stale, or the lane was asked to stop.

        Never waits for others' live claims. Claims of owners that this lane has not seen alive are waited for: until
        the owner moves, or until it has stood still for leaseSeconds and the claim is taken over.
        """
        while True:
            with self._lock:
                prompt = self._next_open() or self._take_over()
                if prompt is not None or not self._unknown or self._world.stop():
                    return prompt
            self._world.sleep(max(_WAIT_SECONDS, 20 * self._listing_seconds))

    def _next_open(self) -> Prompt | None:
        while self._left:
            position = self._cursor
            self._cursor = (position + 1) % len(self._prompts)
            self._left -= 1
            if self._state[position] == _OPEN:
                prompt = self._take(position)
                if prompt is not None:
                    return prompt
        return None

    def release(self, prompt_id: str) -> None:
        """Give a claimed prompt back: others may take it at once, this lane too."""
        with self._lock:
            position = self._mine.pop(prompt_id)
            self._claims.give_back(prompt_id, self._generation[position])
            self._state[position] = _TAKEN

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
                self._list()
            return Counts(total=self._prompts.total, completed=done.count(self._bits), skipped=self._skipped)

    def complete(self) -> bool:
        """Whether every image of the whole job is on the volume now."""
        with self._lock:
            self._list()
            return bool((self._bits == self._wanted).all())

    def record(self, line: Json) -> None:
        """Add a line to this incarnation's journal and wait until it is on the volume."""
        self._journal.append(line)

    def wrote(self, prompt: Prompt, k: int) -> None:
        """Image k of a prompt has its final name; after the last one the claim is settled."""
        with self._lock:
            self._bits[prompt.index] |= np.uint64(1 << k)
            if self._bits[prompt.index] == self._wanted[prompt.index]:
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
        """Look at every claim of the past: those of this lane's earlier lives, and released ones, are open again."""
        listing = self._claims.listing()
        for (prompt_id, generation), position in zip(listing.items(), self._prompts.find(listing), strict=True):
            if position < 0 or self._state[position] == _DONE:
                continue
            self._generation[int(position)] = generation
            if not self._free(prompt_id, generation):
                self._state[position] = _TAKEN

    def _take(self, position: int) -> Prompt | None:
        prompt = self._prompts[position]
        generation = self._generation.get(position, 0) + 1
        self._generation[position] = generation
        if not self._claims.take(prompt.id, generation):
            self._state[position] = _TAKEN
            return None
        if self._exists(prompt):
            self._state[position] = _DONE
            return None
        self._state[position] = _MINE
        self._mine[prompt.id] = position
        return prompt

    def _take_over(self) -> Prompt | None:
        """Everything was asked for once: look at what others claimed but did not finish."""
        self._list()
        self._unknown = False
        position = self._state.find(_TAKEN)
        while position >= 0:
            prompt_id = self._prompts[position].id
            generation = self._claims.highest(prompt_id, self._generation.get(position, 0))
            self._generation[position] = generation
            if self._free(prompt_id, generation):
                prompt = self._take(position)
                if prompt is not None:
                    return prompt
            position = self._state.find(_TAKEN, position + 1)
        return None

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

    def _exists(self, prompt: Prompt) -> bool:
        with guarded(self.layout.images):
            return all(self.layout.image(name).exists() for name in image_names(prompt))

    def _list(self) -> None:
        started = self._world.clock()
        self._bits = done.finished(self.layout, self._prompts)
        ended = self._world.clock()
        self._listing_seconds = ended - started
        self._next_listing = ended + max(_COUNT_SECONDS, 20 * self._listing_seconds)
        for position in np.flatnonzero(self._bits == self._wanted):
            self._state[position] = _DONE


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
