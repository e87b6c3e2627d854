"""Caches -> Snapshot: one resource and everything that is really its own, as plain frozen values.

Pods count only through pod -> StatefulSet uid -> resource uid; labels alone prove nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import ValidationError

from xdit_api.base import Json
from xdit_api.report import Progress, Result
from xdit_api.spec import Spec
from xdit_api.status import Status
from xdit_operator import clock, names
from xdit_operator.cache import Caches
from xdit_operator.plan import Plan
from xdit_operator.problem import Problem

QUIET_WAITS = frozenset(["ContainerCreating", "PodInitializing", "CrashLoopBackOff"])
"""Waiting reasons that say nothing, or that follow from an end that is seen by itself."""


@dataclass(frozen=True, slots=True)
class End:
    """How the first life of a pod's worker container ended."""

    exit_code: int
    reason: str
    """The kubelet's word: Completed, Error, OOMKilled, …"""
    message: str
    """The termination message."""
    finished: datetime
    result: Result | None
    """The message, when it is a worker's result for this resource."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a group."""

    name: str
    uid: str
    ordinal: int
    attempt: int
    node: str
    ip: str
    phase: str
    ready: bool
    deleting: bool
    end: End | None = None
    waiting: tuple[str, str] | None = None
    """(reason, message) why it does not run."""

    @property
    def holds(self) -> bool:
        """Whether it occupies a node's resources."""
        return bool(self.node) and self.phase not in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Group:
    """One StatefulSet of the resource with its pods, by ordinal."""

    replica: int
    name: str
    uid: str
    attempt: int
    wanted: int
    """spec.replicas."""
    deleting: bool
    pods: tuple[Pod, ...]
    live: Json = field(repr=False, compare=False)

    @property
    def up(self) -> bool:
        """Whether its pods are wanted."""
        return self.wanted > 0


@dataclass(frozen=True, slots=True)
class Resource:
    """An XDiTInference that could be read."""

    namespace: str
    name: str
    uid: str
    generation: int
    version: str
    spec: Spec
    status: Status


@dataclass(frozen=True, slots=True)
class Poll:
    """What the leader of a replica last answered."""

    attempt: int
    progress: Progress | None
    failures: int = 0
    """Times in a row that it did not answer."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision rests on."""

    resource: Resource
    groups: tuple[Group, ...]
    """By replica."""
    plan: Plan | None
    """None when there is none; then `problem` says why."""
    problem: Problem | None
    """Why pods must not start now."""
    total: int | None
    """Images asked for, when the prompts are known here."""
    polls: Mapping[int, Poll]
    """By replica."""
    create_failures: Mapping[int, str]
    """Why pods of a replica are not created, in the API server's words."""
    now: datetime

    @property
    def spec(self) -> Spec:
        """What is asked for."""
        return self.resource.spec

    @property
    def status(self) -> Status:
        """What was last said."""
        return self.resource.status

    def group(self, replica: int) -> Group | None:
        """The StatefulSet of a replica."""
        return next((g for g in self.groups if g.replica == replica), None)


def read_status(raw: Json) -> Status:
    """The status of a stored resource; an empty one when it cannot be read (labels of groups keep the attempt)."""
    try:
        return Status.model_validate(raw.get("status") or {})
    except ValidationError:
        return Status()


def read_resource(raw: Json) -> Resource:
    """Raises pydantic.ValidationError for a spec that this version cannot read."""
    metadata = raw["metadata"]
    return Resource(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        version=metadata["resourceVersion"],
        spec=Spec.model_validate(raw["spec"]),
        status=read_status(raw),
    )


def controller(obj: Json) -> Json | None:
    """The owner reference of the controller."""
    owners = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def owned_by(obj: Json, uid: str) -> bool:
    """Whether the object's controller has this uid."""
    owner = controller(obj)
    return owner is not None and owner.get("uid") == uid


def groups(caches: Caches, namespace: str, name: str, uid: str) -> tuple[Group, ...]:
    """The StatefulSets that the resource with this uid controls, by replica."""
    pods = caches.pods.of((namespace, name))
    out = []
    for raw in caches.statefulsets.of((namespace, name)):
        replica = names.number(raw["metadata"]["labels"], names.LABEL_REPLICA)
        if owned_by(raw, uid) and replica is not None and raw["metadata"]["name"] == names.statefulset(name, replica):
            out.append(_group(raw, replica, uid, pods))
    return tuple(sorted(out, key=lambda group: group.replica))


def _group(raw: Json, replica: int, resource_uid: str, candidates: list[Json]) -> Group:
    metadata, spec = raw["metadata"], raw["spec"]
    template = spec["template"]["metadata"].get("labels") or {}
    mine = [read_pod(pod, resource_uid) for pod in candidates if owned_by(pod, metadata["uid"])]
    return Group(
        replica=replica,
        name=metadata["name"],
        uid=metadata["uid"],
        attempt=names.number(template, names.LABEL_ATTEMPT) or 0,
        wanted=spec.get("replicas", 1),
        deleting="deletionTimestamp" in metadata,
        pods=tuple(sorted(mine, key=lambda pod: pod.ordinal)),
        live=raw,
    )


def read_pod(raw: Json, resource_uid: str) -> Pod:
    """A pod of a group. resource_uid: a result for another resource is no result."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    container: Json = next((c for c in status.get("containerStatuses") or [] if c["name"] == names.CONTAINER), {})
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        ordinal=int(metadata["name"].rpartition("-")[2]),
        attempt=names.number(metadata.get("labels") or {}, names.LABEL_ATTEMPT) or 0,
        node=raw["spec"].get("nodeName", ""),
        ip=status.get("podIP", ""),
        phase=status.get("phase", "Pending"),
        ready=conditions.get("Ready", {}).get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        end=_end(container, resource_uid),
        waiting=_waiting(conditions, container),
    )


def _end(container: Json, resource_uid: str) -> End | None:
    # the kubelet restarts what ended; lastState is the life before this one, so it comes first
    lives = (container.get("lastState") or {}, container.get("state") or {})
    ended = next((life["terminated"] for life in lives if "terminated" in life), None)
    if ended is None:
        return None
    message = ended.get("message", "")
    result = Result.decode(message)
    return End(
        exit_code=ended["exitCode"],
        reason=ended.get("reason", ""),
        message=message,
        finished=clock.read(ended.get("finishedAt")) or datetime.min.replace(tzinfo=UTC),
        result=result if result is not None and result.job_uid == resource_uid else None,
    )


def _waiting(conditions: Json, container: Json) -> tuple[str, str] | None:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return "Unschedulable", scheduled.get("message", "no node was found yet")
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    if not reason or reason in QUIET_WAITS:
        return None
    if reason in ("ErrImagePull", "ImagePullBackOff"):
        # the kubelet alternates between the two; one wording, so that nothing is written at each turn
        return "ImagePullBackOff", f"image {container.get('image', '')} cannot be pulled{_why_not(waiting.get('message', ''))}"
    return reason, waiting.get("message", "")


def _why_not(message: str) -> str:
    # the whole text has addresses and ports that differ at each try
    lower = message.lower()
    if any(word in lower for word in ("unauthorized", "authentication", "denied", "forbidden")):
        return ": access denied or no such image; see worker.imagePullSecrets"
    return ": no such image" if "not found" in lower else ""
