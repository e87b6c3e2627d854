"""Decision -> writes. `actions` is pure and names only what is absent or different; `perform` does it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xdit_api.base import Json
from xdit_operator import diff
from xdit_operator.cache import Caches
from xdit_operator.decide import Decision, Turn
from xdit_operator.kube import POD, STATEFUL_SET, Kube, kind_of
from xdit_operator.observe import Group, Snapshot
from xdit_operator.render import Source, base, statefulset


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of a whole manifest."""

    manifest: Json


@dataclass(frozen=True, slots=True)
class Scale:
    """Only `spec.replicas`: a template is never touched while its attempt may run."""

    group: Group
    replicas: int


@dataclass(frozen=True, slots=True)
class RemovePod:
    """Delete one pod, by uid."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class RemoveGroup:
    """Delete one StatefulSet, by uid."""

    group: Group


Action = Apply | Scale | RemovePod | RemoveGroup
Children = Mapping[str, Json | None]
"""Kind of a child -> its live state, None when absent."""


def actions(s: Snapshot, d: Decision, source: Source | None, children: Children | None) -> list[Action]:
    """What to write, in order: what pods need comes before pods.

    source: None when there is no plan; then groups can only be stopped. children: None when they were not looked at.
    """
    out: list[Action] = []
    if source is not None and children is not None and any(turn.up for turn in d.turns):
        out += _base(source, children)
    for turn in d.turns:
        out += _group(s.group(turn.index), turn, source)
    for replica in d.leftover:
        group = s.group(replica)
        if group is not None and not group.deleting:
            out += [Scale(group, 0)] if group.wanted else [] if group.pods else [RemoveGroup(group)]
    return out


def _base(source: Source, children: Children) -> Iterable[Action]:
    for manifest in base(source):
        live = children.get(manifest["kind"])
        if live is None or diff.seal(live) != diff.digest(manifest) or diff.differs(manifest, live):
            yield Apply(diff.sealed(manifest))


def _group(group: Group | None, turn: Turn, source: Source | None) -> Iterable[Action]:
    if group is None:
        if turn.up and source is not None:
            yield Apply(diff.sealed(statefulset.render(source, turn.index, turn.attempt, True)))
        return
    if group.deleting:
        return
    if not turn.up:
        if group.wanted:
            yield Scale(group, 0)
        return
    if source is None:
        return
    manifest = statefulset.render(source, turn.index, turn.attempt, True)
    same_version = diff.seal(group.live) == diff.digest(manifest)
    if group.attempt < turn.attempt or (same_version and diff.differs(manifest, group.live)):
        yield Apply(diff.sealed(manifest))
    elif group.wanted != source.plan.pods:
        yield Scale(group, source.plan.pods)
    for pod in group.pods:
        if pod.attempt < group.attempt and not pod.deleting:
            yield RemovePod(pod.name, pod.uid)


async def perform(kube: Kube, caches: Caches, namespace: str, action: Action) -> None:
    """One write; what the API server stored goes to the caches, which are then never older than our own writes."""
    if isinstance(action, Apply):
        stored = await kube.apply(action.manifest)
        if kind_of(stored) == STATEFUL_SET:
            caches.statefulsets.put(stored)
    elif isinstance(action, Scale):
        change = {"metadata": {"uid": action.group.uid}, "spec": {"replicas": action.replicas}}
        caches.statefulsets.put(await kube.merge(STATEFUL_SET, namespace, action.group.name, change))
    elif isinstance(action, RemovePod):
        await kube.delete(POD, namespace, action.name, action.uid)
    else:
        await kube.delete(STATEFUL_SET, namespace, action.group.name, action.group.uid)
