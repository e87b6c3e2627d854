"""`status` of an XDiTInference: what is happening, in numbers a person or a pipeline can act on."""

from typing import Annotated, Literal

from pydantic import Field

from xdit_api.base import Int32, Int64, Model, Timestamp

Phase = Literal["Pending", "Queued", "Starting", "Running", "Restarting", "Complete", "Failed", "Suspended"]
PHASES: tuple[Phase, ...] = ("Pending", "Queued", "Starting", "Running", "Restarting", "Complete", "Failed", "Suspended")

MESSAGE_LIMIT = 1024
"""Longest message in status, in bytes."""
Message = Annotated[str, Field(max_length=MESSAGE_LIMIT)]
Short = Annotated[str, Field(max_length=253)]
Number = Annotated[float, Field(json_schema_extra={"format": "double"})]


class Condition(Model):
    """A Kubernetes condition."""

    type: Annotated[str, Field(max_length=64)]
    """Ready, Reconciling, Stalled, Complete, Failed or Suspended."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: Int64 | None = None
    """Generation of the resource that was looked at."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=128, pattern="^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$")]
    """CamelCase word for machines."""
    message: Message = ""
    """Sentence for people."""


class PlanStatus(Model):
    """What the planner chose, with the values of fields that were left out."""

    summary: Annotated[str, Field(max_length=128)]
    """One line, for example '2 replicas x 2 pods x 1 GPU: ulysses 2'."""
    data: Int32
    """Lanes per replica."""
    cfg: Int32
    """Classifier-free guidance degree."""
    ulysses: Int32
    """Ulysses degree."""
    ring: Int32
    """Ring degree."""
    pipefusion: Int32
    """PipeFusion degree."""
    gpus_per_pod: Int32
    """GPUs in each pod."""
    pods_per_replica: Int32
    """Pods of each replica."""
    output_path: Annotated[str, Field(max_length=512)]
    """Directory of the pictures inside the output claim."""
    shm_size: Annotated[str, Field(max_length=32)]
    """Size of /dev/shm."""
    reasons: Annotated[list[Message], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})] = []
    """Why these degrees."""


class ProgressStatus(Model):
    """Images of the whole job, counted on the output volume. Written at most every 10 seconds; never goes back."""

    total: Int64
    """Images asked for."""
    completed: Int64
    """Images on the output volume."""
    failed: Int64 = 0
    """Prompts that failed."""
    skipped: Int64 = 0
    """Images that were there before this job started."""
    summary: Annotated[str, Field(max_length=48)]
    """completed/total, for the table."""
    seconds_per_image: Annotated[str, Field(max_length=16)] | None = None
    """Seconds for each image at the present rate of all replicas together."""
    images_per_hour: Int64 | None = None
    """Images an hour at the present rate."""
    eta_seconds: Int64 | None = None
    """Seconds until the last image at the present rate."""
    eta: Annotated[str, Field(max_length=32)] | None = None
    """The same for people, for example 5m58s."""


class ReplicaStatus(Model):
    """One group of pods."""

    index: Int32
    """Number of the replica, from 0."""
    phase: Annotated[str, Field(max_length=32)]
    """Pending, Starting, Running, Idle, Restarting, Drained, Failed or Stopped."""
    attempt: Int32 = 0
    """Which life of the group this is; also a label on its pods."""
    restarts: Int32 = 0
    """Restarts charged to backoffLimit."""
    ready_pods: Int32 = 0
    """Pods whose worker is ready."""
    pod_uids: Annotated[
        list[Annotated[str, Field(max_length=64)]], Field(max_length=256, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default=[], alias="podUIDs")
    """Pods of this attempt; another uid means that a pod was replaced."""
    nodes: Annotated[list[Short], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})] = []
    """Nodes its pods run on (the first 16)."""
    completed: Int64 = 0
    """Images made by this replica in this attempt."""
    message: Annotated[str, Field(max_length=512)] = ""
    """What it is doing or why it is not."""
    starting_since: Timestamp | None = None
    """When the pods of this attempt were asked for."""
    last_progress_time: Timestamp | None = None
    """When it last made progress."""
    next_restart_time: Timestamp | None = None
    """When the group starts again."""


class FirstFailure(Model):
    """The first thing that went wrong; kept when later failures follow from it."""

    replica: Int32
    """Replica."""
    pod: Short
    """Pod."""
    node: Short = ""
    """Node."""
    rank: Int32 | None = None
    """Rank of the world, when a rank failed."""
    exit_code: Int32
    """Exit code of the worker container; the table is in docs/exit-codes.md."""
    reason: Annotated[str, Field(max_length=128)]
    """CamelCase word."""
    message: Message
    """The worker's own words."""
    log_path: Annotated[str, Field(max_length=512)] = ""
    """Log file on the output claim."""
    time: Timestamp
    """When it happened."""


class GpuSeconds(Model):
    """GPU time of the whole job."""

    used: Int64 = 0
    """GPU seconds held by pods."""
    wasted: Int64 = 0
    """Of these, spent in attempts that failed."""


class HardwareFailure(Model):
    """Hardware failures of one node."""

    node: Short
    """Node."""
    count: Int32
    """How many."""


class Status(Model):
    """What is happening."""

    observed_generation: Int64 = -1
    """Generation of the resource that this status describes; -1 until the operator has looked."""
    phase: Phase | None = None
    """One word for the table; derived from the conditions."""
    conditions: Annotated[
        list[Condition],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = []
    """Ready, Reconciling, Stalled, Complete, Failed and Suspended."""
    plan: PlanStatus | None = None
    """What the planner chose."""
    progress: ProgressStatus | None = None
    """Images of the whole job."""
    replicas: Annotated[
        list[ReplicaStatus],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["index"]}),
    ] = []
    """Each group of pods."""
    restarts: Int32 = 0
    """Group restarts of all replicas."""
    gpus: Int32 = 0
    """GPUs held now (CPU ranks when gpuResource is none)."""
    gpu_seconds: GpuSeconds | None = None
    """GPU time."""
    accounted_until: Timestamp | None = None
    """Time up to which gpuSeconds counts."""
    active_seconds: Int64 = 0
    """Time that pods were wanted; stands still while suspended or queued."""
    active_since: Timestamp | None = None
    """Start of the present active period."""
    hardware_failures: Annotated[
        list[HardwareFailure],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["node"]}),
    ] = []
    """Hardware failures by node."""
    first_failure: FirstFailure | None = None
    """The first thing that went wrong."""
    start_time: Timestamp | None = None
    """When pods were first asked for."""
    completion_time: Timestamp | None = None
    """When the job ended, in either way."""
