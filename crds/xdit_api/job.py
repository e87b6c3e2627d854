"""The resolved job: what the operator decided, in the file that the workers read (`pod.JOB_FILE`).

The same file starts the workers without Kubernetes.
"""

from typing import Annotated, Literal

from pydantic import Field

from xdit_api.base import Model
from xdit_api.spec import Defaults, Engine, Lora

PromptFormat = Literal["jsonl", "json", "txt", "csv"]
Policy = Literal["Fail", "Skip"]


class Degrees(Model):
    """Parallel degrees, all explicit. `lanes` worlds of cfg x ulysses x ring x pipefusion ranks each."""

    lanes: int = 1
    cfg: int = 1
    ulysses: int = 1
    ring: int = 1
    pipefusion: int = 1
    pipefusion_patches: int | None = None
    warmup_steps: int = 1

    @property
    def world_size(self) -> int:
        """Ranks of one lane."""
        return self.cfg * self.ulysses * self.ring * self.pipefusion

    def describe(self) -> str:
        """'ulysses 2 x ring 2'; 'one GPU' when nothing is parallel."""
        named = {"cfg": self.cfg, "ulysses": self.ulysses, "ring": self.ring, "pipefusion": self.pipefusion}
        parts = [f"{name} {degree}" for name, degree in named.items() if degree > 1]
        return " x ".join(parts) if parts else "one GPU"


class JobModel(Model):
    """The model: identity and place."""

    id: str
    path: str
    """Absolute directory that holds model_index.json."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    loras: list[Lora] = []


class JobPrompts(Model):
    """The prompt file."""

    path: str
    """Absolute path."""
    format: PromptFormat
    policy: Policy = "Fail"
    """What a bad line does: it fails the job, or it is left out."""
    root: str | None = None
    """Absolute directory that paths of input images may not leave. Default: the prompt file's."""


class JobOutput(Model):
    """The output directory."""

    path: str
    """Absolute directory."""
    volume_path: str = ""
    """The same directory as users know it: relative to the claim."""
    format: Literal["png", "webp", "jpeg"] = "png"


class Job(Model):
    """Everything a worker needs to know; the same for all replicas and attempts."""

    api_version: str
    name: str
    namespace: str = ""
    uid: str
    """uid of the resource; a report counts only for this uid."""
    device: Literal["cuda", "cpu"] = "cuda"
    gpus: Annotated[int, Field(ge=1)]
    """Ranks of a replica."""
    gpus_per_pod: Annotated[int, Field(ge=1)]
    degrees: Degrees
    model: JobModel
    prompts: JobPrompts
    defaults: Defaults = Defaults()
    output: JobOutput
    engine: Engine = Engine()
    stall_seconds: int = 600
    grace_seconds: Annotated[int, Field(ge=1)] = 110
    """Seconds from SIGTERM until ranks that do not reach an image boundary are killed: less than the pod's own grace period."""
    lease_seconds: int = 120
    """A claim whose owner's heartbeat has not moved for this long may be taken over."""

    @property
    def pods(self) -> int:
        """Pods of a replica."""
        return self.gpus // self.gpus_per_pod
