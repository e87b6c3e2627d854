"""Live reads that a decision needs and that no watch brings: inputs, children without a watch, refused pods."""

from dataclasses import dataclass, field
from datetime import timedelta

from xdit_api.base import Json
from xdit_operator import clock, names, ownership
from xdit_operator.cache import Caches
from xdit_operator.decide import restart
from xdit_operator.kube import EVENT, STATEFUL_SET, Kube, kind_of
from xdit_operator.observe import Group, Resource, Snapshot
from xdit_operator.problem import Problem
from xdit_operator.render import Source, base

SLOW_START = timedelta(seconds=3)
"""Pods that are missing for longer are asked about."""


@dataclass(frozen=True, slots=True)
class Found:
    """Children as they are now."""

    children: dict[str, Json | None] = field(default_factory=dict)
    problem: Problem | None = None


async def base_children(kube: Kube, source: Source) -> Found:
    """Service, ConfigMap and NetworkPolicy, and whether their names are free for us."""
    found: dict[str, Json | None] = {}
    problems: list[Problem | None] = []
    for manifest in base(source):
        live = await kube.get(kind_of(manifest), source.namespace, manifest["metadata"]["name"])
        found[manifest["kind"]] = live
        if live is not None:
            problems.append(ownership.conflict(live, source.name, source.uid))
    return Found(found, _worst(problems))


async def group_names(kube: Kube, caches: Caches, resource: Resource, groups: tuple[Group, ...]) -> Problem | None:
    """Whether a StatefulSet that we must create has a name that is taken."""
    present = {group.replica for group in groups}
    problems: list[Problem | None] = []
    for replica in range(resource.spec.replicas):
        if replica in present:
            continue
        name = names.statefulset(resource.name, replica)
        live = caches.statefulsets.get((resource.namespace, name)) or await kube.get(STATEFUL_SET, resource.namespace, name)
        if live is None:
            continue
        problem = ownership.conflict(live, resource.name, resource.uid)
        if problem is None:
            # ours, and the watch has not shown it yet
            caches.statefulsets.put(live)
        problems.append(problem)
    return _worst(problems)


def _worst(problems: list[Problem | None]) -> Problem | None:
    found = [p for p in problems if p is not None]
    return min(found, key=lambda p: p.waiting, default=None)


def short_of_pods(s: Snapshot) -> list[Group]:
    """Groups whose pods should have been created by now."""
    out = []
    for group in s.groups:
        since = clock.read(restart.remembered(s, group.replica).starting_since)
        if (
            group.up
            and not group.deleting
            and len(group.pods) < group.wanted
            and since is not None
            and s.now - since >= SLOW_START
        ):
            out.append(group)
    return out


async def create_failures(kube: Kube, s: Snapshot) -> dict[int, str]:
    """Replica -> why the API server refuses its pods (quota, Pod Security, …), from the StatefulSet's Events."""
    out = {}
    for group in short_of_pods(s):
        since = restart.remembered(s, group.replica).starting_since or ""
        selector = f"involvedObject.uid={group.uid},reason=FailedCreate"
        events, _ = await kube.list(EVENT, s.resource.namespace, fieldSelector=selector)
        messages = [str(e.get("message", "")) for e in events if _last(e) >= since]
        if messages:
            # each pod has its own message; the same one every time, so that nothing flaps
            out[group.replica] = min(messages)
    return out


def _last(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])
