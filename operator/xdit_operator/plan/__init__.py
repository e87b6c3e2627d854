"""Spec -> Plan: degrees, pods and paths, or the sentence why not. Pure; the same answer for the same spec."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from xdit_api import catalogue
from xdit_api.job import Degrees, PromptFormat
from xdit_api.spec import Spec
from xdit_operator.plan.degrees import choose
from xdit_operator.plan.paths import model_path, output_path, prompts_file, volume_path
from xdit_operator.plan.support import unsupported
from xdit_operator.problem import Problem

MAX_GPUS_PER_POD = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What the pods of every replica look like."""

    degrees: Degrees
    gpus: int
    """Ranks of a replica."""
    gpus_per_pod: int
    replicas: int
    model_path: PurePosixPath
    prompts_path: PurePosixPath
    prompts_format: PromptFormat
    output_path: PurePosixPath
    volume_path: str
    """output_path as users know it: relative to the claim."""
    shm_size: str
    reasons: tuple[str, ...]

    @property
    def pods(self) -> int:
        """Pods of a replica."""
        return self.gpus // self.gpus_per_pod

    @property
    def summary(self) -> str:
        """'2 replicas x 2 pods x 1 GPU: ulysses 2'."""
        parts = [_count(self.replicas, "replica"), _count(self.pods, "pod"), _count(self.gpus_per_pod, "GPU")]
        lanes = f"{self.degrees.lanes} lanes of " if self.degrees.lanes > 1 else ""
        return f"{' x '.join(parts)}: {lanes}{self.degrees.describe()}"


def make(spec: Spec, name: str, sizes: Iterable[tuple[int, int]]) -> Plan | Problem:
    """The plan of a resource called `name`.

    sizes: (width, height) in pixels of the images that are known.
    """
    refused = unsupported(spec)
    if refused is not None:
        return refused
    facts = catalogue.lookup(spec.model.id)
    chosen = choose(spec, facts)
    if isinstance(chosen, str):
        return Problem("InvalidPlan", chosen)
    degrees, reasons = chosen
    if facts is not None:
        against = catalogue.legal(facts, degrees, sizes)
        if against:
            return Problem("InvalidPlan", "; ".join(against))
    per_pod = spec.gpus_per_pod or largest_divisor(spec.gpus, MAX_GPUS_PER_POD)
    path, format = prompts_file(spec.prompts)
    return Plan(
        degrees=degrees,
        gpus=spec.gpus,
        gpus_per_pod=per_pod,
        replicas=spec.replicas,
        model_path=model_path(spec.model.source),
        prompts_path=path,
        prompts_format=format,
        output_path=output_path(spec.output, name),
        volume_path=volume_path(spec.output, name),
        shm_size=str(spec.worker.shm_size) if spec.worker.shm_size is not None else f"{per_pod}Gi",
        reasons=reasons,
    )


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
