"""What a worker pod says: the result it ends with, and its progress while it runs."""

from enum import IntEnum
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from xdit_api.base import Model, Timestamp

RESULT_LIMIT = 4096
"""Bytes of a termination message that the kubelet keeps."""


class Exit(IntEnum):
    """Exit codes of `xdit-worker`. 64-79 are permanent: the same input fails the same way, so nothing is retried.
    80-99 blame hardware. The rest is retried within backoffLimit.
    """

    OK = 0
    """Drained (the whole job is complete) or idle (nothing left to claim)."""
    WORKER_FAILED = 1
    """A rank failed for a reason that is not known to be permanent."""
    PEER_LOST = 20
    """Another pod of the group failed or cannot be reached; its own report has the cause."""
    STOPPED = 21
    """Stopped by SIGTERM at an image boundary; neither drained nor failed."""
    STALLED = 22
    """No progress for stallSeconds."""
    OUT_OF_MEMORY = 23
    """The pod's memory ran out: a process was killed at its limit, or asked for more than there is."""
    OUTPUT_VOLUME = 24
    """The output volume is full, read-only or fails."""
    PEERS_UNREACHABLE = 25
    """The other pods of the group did not appear in time."""
    INVALID_JOB = 64
    """The job file cannot be read, or this version cannot run it."""
    INVALID_PROMPTS = 65
    """The prompt file is missing or has bad lines."""
    INVALID_MODEL = 66
    """The model directory is missing, incomplete, or cannot be loaded safely."""
    INVALID_PLAN = 67
    """Model, degrees and sizes do not fit together."""
    IDENTITY_MISMATCH = 68
    """The output directory belongs to a job with another model or other settings."""
    OUTPUT_NOT_WRITABLE = 69
    """The output directory cannot be written by this user, or its volume lacks a needed call."""
    CUDA_ERROR = 80
    """A CUDA call failed."""
    NCCL_ERROR = 81
    """Communication between GPUs failed."""
    GPU_COUNT = 82
    """Fewer GPUs in the pod than the job needs."""
    GPU_LOST = 83
    """A GPU fell off the bus, or its driver says that it must be reset."""

    @property
    def permanent(self) -> bool:
        """True when a retry cannot help."""
        return 64 <= self <= 79

    @property
    def hardware(self) -> bool:
        """True when the node is to blame."""
        return 80 <= self <= 99

    @property
    def reason(self) -> str:
        """CamelCase word of conditions and events, for example InvalidPrompts."""
        return "".join(part.capitalize() for part in self.name.split("_"))


class Counts(Model):
    """Images of the whole job, read from the output volume."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    """Prompts that failed."""
    skipped: int = 0
    """Images that were there before this resource's first lane started."""


Outcome = Literal["drained", "idle", "stopped", "failed"]


class Result(Model):
    """The end of a pod's first life: its termination message."""

    outcome: Outcome
    exit_code: int
    reason: str
    message: str = ""
    job_uid: str
    replica: int = 0
    attempt: int = 0
    pod: str = ""
    rank: int | None = None
    """Rank that failed first, when one did."""
    time: Timestamp
    counts: Counts | None = None
    log_path: str = ""
    """Log file relative to the output claim."""

    def encode(self) -> str:
        """JSON of at most RESULT_LIMIT bytes; a long message is cut."""
        text = self.model_dump_json(by_alias=True, exclude_none=True)
        excess = len(text.encode()) - RESULT_LIMIT
        if excess <= 0:
            return text
        # JSON escapes make a character up to 6 bytes in the encoded form; cutting that many is always enough
        kept = self.message.encode()[: max(0, len(self.message.encode()) - excess - 6)].decode(errors="ignore")
        while True:
            text = self.model_copy(update={"message": kept + "…"}).model_dump_json(by_alias=True, exclude_none=True)
            if len(text.encode()) <= RESULT_LIMIT or not kept:
                return text
            kept = kept[: len(kept) * 9 // 10]

    @classmethod
    def decode(cls, text: str) -> "Result | None":
        """The result in a termination message, or None when it is something else (a Python traceback, say)."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None


LanePhase = Literal["Waiting", "Loading", "Generating", "Draining", "Done", "Restarting", "GaveUp"]


class LaneProgress(Model):
    """One lane of a replica."""

    index: int
    phase: LanePhase
    """`Restarting`: its ranks died and start again in a moment. `GaveUp`: they died too often; the other lanes go on."""
    prompt: str | None = None
    """Id of the prompt in work."""
    step: int | None = None
    steps: int | None = None
    completed: int = 0
    """Images made by this lane in this attempt."""
    seconds_per_image: float | None = None
    """Seconds between images, a moving average."""
    restarts: int = 0
    """How often this pod's supervisor has restarted the lane in this attempt."""
    load_seconds: float | None = None
    """Loading the model, of the lane's present life."""
    first_step_seconds: float | None = None
    """From the start of the lane's present life to the end of its first denoising step."""
    blocked_seconds: float | None = None
    """How long the lane's present life has waited for the output volume with nothing else to do."""


class GpuProgress(Model):
    """One GPU of the pod, as its driver says."""

    index: int
    """Among those that the pod may use."""
    memory_used: int
    """Bytes."""
    memory_total: int
    utilization: int | None = None
    """Percent of the last second or so in which it was busy; None where the driver does not tell."""


class HostMemory(Model):
    """Memory of the pod's container, in bytes; None where the kernel does not tell."""

    current: int | None = None
    peak: int | None = None
    limit: int | None = None


class Progress(Model):
    """The answer of /progress. Counts are of the whole job, `lanes` of this replica."""

    job_uid: str
    replica: int
    attempt: int
    phase: Literal["Preflight", "Running", "Finished", "Parked"]
    counts: Counts
    lanes: Annotated[list[LaneProgress], Field(max_length=64)] = []
    last_progress_time: Timestamp | None = None
    eta_seconds: float | None = None
    """Seconds until the whole job is done, at the pace of the last minutes, all replicas together."""
    start_seconds: float | None = None
    """From the start of the worker to the start of its lanes: preflight, and waiting for other pods."""
    gpus: Annotated[list[GpuProgress], Field(max_length=64)] = []
    memory: HostMemory | None = None
    result: Result | None = None
