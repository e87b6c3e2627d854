"""One resource, one pass: observe -> plan -> decide -> status -> act. The status is written before pods are touched."""

import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from xdit_api import API_VERSION, KIND
from xdit_api.base import Json
from xdit_api.status import Status
from xdit_operator import act, clock, inputs, look, observe, status, transitions
from xdit_operator import plan as planning
from xdit_operator.cache import Caches, Key
from xdit_operator.decide import Decision, completion, decide
from xdit_operator.inputs import Inputs
from xdit_operator.kube import INFERENCE, ApiError, Kube
from xdit_operator.memory import Memory
from xdit_operator.metrics import Metrics
from xdit_operator.observe import Resource, Snapshot
from xdit_operator.plan import Plan
from xdit_operator.plan.support import unsupported
from xdit_operator.polls import Polls
from xdit_operator.problem import Problem
from xdit_operator.render import Source, base
from xdit_operator.settings import Settings
from xdit_operator.status.refused import invalid_spec
from xdit_operator.text import cut

PROGRESS_SECONDS = 10.0
"""Shortest time between two writes that only show progress."""
REFUSED_SECONDS = 60.0
"""Time between two tries of what the API server refused."""
PODS_SECONDS = 15.0
"""Time between two looks at why pods are missing."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pass:
    """How a pass ended."""

    phase: str | None = None
    writes: int = 0
    wake: float | None = None
    """Seconds until the next pass is due whatever happens."""


class Reconciler:
    """Holds the ends that talk to the API; everything between them is pure."""

    def __init__(self, kube: Kube, caches: Caches, polls: Polls, settings: Settings, metrics: Metrics) -> None:
        self._kube = kube
        self._caches = caches
        self._polls = polls
        self._settings = settings
        self._metrics = metrics
        self._memory: dict[str, Memory] = {}

    async def __call__(self, key: Key) -> Pass:
        """One pass over one resource. Raises ApiError and network errors."""
        raw = self._caches.resources.get(key)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            # children have owner references: the garbage collector removes them
            return Pass()
        try:
            resource = observe.read_resource(raw)
        except ValidationError as error:
            old = observe.read_status(raw)
            new = invalid_spec(old, raw["metadata"]["generation"], error, clock.now())
            return Pass(new.phase, int(await self._write_status(raw, old, new)))
        memory = self._memory.setdefault(resource.uid, Memory())
        try:
            return await self._pass(raw, resource, memory)
        except ApiError as error:
            if error.status == 404 and await self._kube.get(INFERENCE, *key) is None:
                return Pass()  # deleted meanwhile; its watch event follows
            raise

    def forget(self, uid: str) -> None:
        """The resource is gone."""
        self._memory.pop(uid, None)
        self._polls.forget(uid)

    async def _pass(self, raw: Json, resource: Resource, memory: Memory) -> Pass:
        snapshot, source, children = await self._observe(resource, memory)
        decision = decide(snapshot)
        new = status.build(snapshot, decision)
        waits, writes = list(decision.wake), 0
        if self._only_progress(resource.status, new) and time.monotonic() - memory.progress_written < PROGRESS_SECONDS:
            waits.append(snapshot.now + timedelta(seconds=PROGRESS_SECONDS))
        elif await self._write_status(raw, resource.status, new):
            memory.progress_written = time.monotonic()
            writes = 1
        writes += await self._act(snapshot, decision, source, children, memory)
        return Pass(new.phase, writes, _seconds(snapshot, decision, waits))

    async def _observe(self, resource: Resource, memory: Memory) -> tuple[Snapshot, Source | None, act.Children | None]:
        spec, now = resource.spec, clock.now()
        groups = observe.groups(self._caches, resource.namespace, resource.name, resource.uid)
        resting = completion.ended(resource.status) is not None or spec.suspend
        found = Inputs()
        if unsupported(spec) is None and not resting and not any(g.up for g in groups):
            found = await inputs.look(self._kube, resource.namespace, spec)
        fresh = resource.status.start_time is None
        planned = planning.make(spec, resource.name, found.sizes if fresh else ())
        plan = planned if isinstance(planned, Plan) else None
        problem = planned if isinstance(planned, Problem) else None
        if problem is not None and found.sizes and spec.prompts.config_map is not None:
            # the sizes come from a ConfigMap, which nobody watches
            problem = replace(problem, retry_after=inputs.AGAIN)
        # prompts are frozen on the volume by the first lane; editing the ConfigMap later stops nothing
        if found.problem is not None and (fresh or found.problem.reason != "InvalidPrompts"):
            problem = problem or found.problem
        source = children = None
        if plan is not None:
            source = Source(resource.namespace, resource.name, resource.uid, spec, plan, self._settings)
        if source is not None and not resting:
            problem = problem or await look.group_names(self._kube, self._caches, resource, groups)
            groups = observe.groups(self._caches, resource.namespace, resource.name, resource.uid)
            starting = not any(g.up for g in groups)
            every = self._settings.resync_seconds
            if problem is None and (starting or memory.base_due(base(source), time.monotonic(), every)):
                seen = await look.base_children(self._kube, source)
                children, problem = seen.children, seen.problem
        problem = problem or await self._refusal(memory)
        snapshot = Snapshot(resource, groups, plan, problem, found.total, self._polls.of(resource.uid), {}, now)
        if not resting:
            snapshot = replace(snapshot, create_failures=await look.create_failures(self._kube, snapshot))
        return snapshot, source, children

    async def _refusal(self, memory: Memory) -> Problem | None:
        """The last refusal, until a dry run of the same manifest passes."""
        if memory.refused is None:
            return None
        if time.monotonic() - memory.refused_at < REFUSED_SECONDS:
            return memory.refused_because
        try:
            await self._kube.apply(memory.refused, dry_run=True)
        except ApiError as error:
            if error.status not in (403, 422):
                raise
            memory.refused_at = time.monotonic()
            memory.refused_because = _refused(memory.refused, error)
            return memory.refused_because
        memory.refused = memory.refused_because = None
        return None

    @staticmethod
    def _only_progress(old: Status, new: Status) -> bool:
        return old != new and status.quiet(old) == status.quiet(new)

    async def _write_status(self, raw: Json, old: Status, new: Status) -> bool:
        """Whether anything was written. A 409 means that the resource has changed: the next pass sees it."""
        ours = [c for c in old.conditions if c.type in status.conditions.TYPES]
        if old.model_copy(update={"conditions": ours}) == new:
            return False
        metadata = raw["metadata"]
        identity = {k: metadata[k] for k in ("name", "namespace", "uid", "resourceVersion")}
        manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": identity, "status": status.compact(new.dump())}
        try:
            stored = await self._kube.apply(manifest, "status")
        except ApiError as error:
            if error.status == 409:
                await self._refresh(metadata["namespace"], metadata["name"])
            raise
        self._caches.resources.put(stored)
        self._metrics.writes.labels(kind="status").inc()
        for event in transitions.between(old, new):
            await self._tell(event, raw)
        return True

    async def _refresh(self, namespace: str, name: str) -> None:
        live = await self._kube.get(INFERENCE, namespace, name)
        if live is not None:
            self._caches.resources.put(live)

    async def _tell(self, event: transitions.Event, raw: Json) -> None:
        """An Event that cannot be written is only logged: status has the truth."""
        try:
            await self._kube.create(transitions.manifest(event, raw, clock.now()))
            self._metrics.writes.labels(kind="Event").inc()
        except ApiError as error:
            if error.status != 409:
                log.warning("an Event was refused", extra={"fields": {"reason": event.reason, "error": str(error)}})

    async def _act(self, s: Snapshot, d: Decision, source: Source | None, children: act.Children | None, memory: Memory) -> int:
        todo = act.actions(s, d, source, children)
        for action in todo:
            try:
                await act.perform(self._kube, self._caches, s.resource.namespace, action)
            except ApiError as error:
                if error.status in (403, 422) and isinstance(action, act.Apply):
                    memory.refused, memory.refused_at = action.manifest, time.monotonic()
                    memory.refused_because = _refused(action.manifest, error)
                raise
            self._metrics.writes.labels(kind=type(action).__name__).inc()
        if source is not None and children is not None:
            memory.base_right(base(source), time.monotonic())
        return len(todo)


def _refused(manifest: Json, error: ApiError) -> Problem:
    what = f"{manifest['kind']} {manifest['metadata']['name']}"
    text = cut(f"the API server refuses {what}: {error.message}", 900)
    return Problem("Refused", f"{text}; it is tried again every {REFUSED_SECONDS:.0f} s", REFUSED_SECONDS)


def _seconds(s: Snapshot, d: Decision, waits: list[datetime]) -> float | None:
    """The earliest time at which something may change without an event."""
    later = [(when - s.now).total_seconds() for when in waits]
    if s.problem is not None and s.problem.retry_after is not None and d.outcome is None and not d.suspended:
        later.append(s.problem.retry_after)
    if look.short_of_pods(s):
        later.append(PODS_SECONDS)
    elif any(g.up and len(g.pods) < g.wanted for g in s.groups) or any(t.up and s.group(t.index) is None for t in d.turns):
        later.append(look.SLOW_START.total_seconds() + 1)
    return max(0.2, min(later)) if later else None
