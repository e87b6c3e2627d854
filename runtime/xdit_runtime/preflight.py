"""Everything that can be known before a model is loaded. Takes under two seconds, needs no torch and no peers."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from xdit_api import API_VERSION, catalogue
from xdit_api.job import Job
from xdit_api.report import Counts, Exit
from xdit_runtime import gpus, modeldir, space
from xdit_runtime.ending import RefusedError
from xdit_runtime.engine.options import unsupported
from xdit_runtime.ledger import identity
from xdit_runtime.ledger.opening import Survey, open_prompts, settled, survey
from xdit_runtime.ledger.temporary import scratch
from xdit_runtime.paths import Layout
from xdit_runtime.probe import probe
from xdit_runtime.prompts import FrozenPrompts, PromptFileError


@dataclass(frozen=True, slots=True)
class Ready:
    """What preflight found."""

    layout: Layout
    prompts: FrozenPrompts
    survey: Survey

    @property
    def counts(self) -> Counts:
        """Images of the whole job."""
        return self.survey.counts

    @property
    def drained(self) -> bool:
        """Whether every image exists already, or its prompt failed."""
        return self.survey.complete


def read_job(path: Path) -> Job:
    """The job file. Raises RefusedError."""
    try:
        job = Job.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RefusedError(Exit.INVALID_JOB, f"cannot read the job file {path}: {error.strerror}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors(include_url=False)[:10])
        raise RefusedError(Exit.INVALID_JOB, f"job file {path}: {problems}") from error
    if job.api_version != API_VERSION:
        raise RefusedError(
            Exit.INVALID_JOB,
            f"job file {path} is for {job.api_version}, this worker for {API_VERSION}: use an image of the operator's version",
        )
    lanes, size = job.degrees.lanes, job.degrees.world_size
    if job.gpus % job.gpus_per_pod or lanes * size != job.gpus or (lanes > 1 and job.pods > 1):
        raise RefusedError(
            Exit.INVALID_JOB,
            f"job file {path}: {lanes} lanes of {size} ranks do not fit {job.gpus} GPUs in pods of {job.gpus_per_pod}",
        )
    return job


def run(job: Job, say: Callable[[str], None], writable: Callable[[Layout], None]) -> Ready:
    """All checks, cheapest and most likely to fail first. Raises RefusedError, OutputVolumeError.

    say: takes lines for the log. writable: told as soon as the output directory is known to be usable.
    """
    layout = Layout.of(job)
    probe(layout)
    writable(layout)
    index, transformer = _model(job)
    facts = catalogue.from_configs(index, transformer)
    reasons = unsupported(job, None if isinstance(facts, str) else facts)
    if isinstance(facts, str):
        reasons.append(facts)
    _refuse_plan(reasons)
    prompts = _ledger(job, layout, say)
    assert not isinstance(facts, str)
    _refuse_plan(catalogue.legal(facts, job.degrees, ()))
    _sizes(job, facts, prompts, say)
    if job.device == "cuda":
        _gpus(job)
    layout = settled(layout)
    ready = Ready(layout, prompts, survey(layout, prompts))
    _space(job, ready, say)
    return ready


def _sizes(job: Job, facts: catalogue.ModelFacts, prompts: FrozenPrompts, say: Callable[[str], None]) -> None:
    """Sizes that the degrees cannot draw, each with the first line that asks for it; under policy Skip those prompts fail."""
    refused = {size: reasons for size in prompts.sizes() if (reasons := catalogue.legal(facts, job.degrees, [size]))}
    lines = prompts.first_lines(refused)
    reasons = [f"{job.prompts.path}: line {lines[size]}: {reason}" for size, found in refused.items() for reason in found]
    if job.prompts.policy == "Fail":
        _refuse_plan(reasons)
    for reason in reasons:
        say(f"{reason}; its prompts fail")


def _refuse_plan(reasons: list[str]) -> None:
    if reasons:
        raise RefusedError(Exit.INVALID_PLAN, "\n".join(reasons))


def _model(job: Job) -> tuple[dict[str, object], dict[str, object]]:
    try:
        return modeldir.check(Path(job.model.path))
    except modeldir.ModelError as error:
        raise RefusedError(Exit.INVALID_MODEL, str(error)) from error


def _ledger(job: Job, layout: Layout, say: Callable[[str], None]) -> FrozenPrompts:
    try:
        identity.join(job, layout, scratch(layout))
        prompts = open_prompts(job, layout)
    except identity.IdentityMismatchError as error:
        raise RefusedError(Exit.IDENTITY_MISMATCH, str(error)) from error
    except OSError as error:
        text = f"cannot read {error.filename}: {error.strerror} (this process is uid {os.getuid()})"
        raise RefusedError(Exit.INVALID_MODEL, text) from error
    except PromptFileError as error:
        for problem in error.problems:
            say(f"{job.prompts.path}: {problem}")
        raise RefusedError(Exit.INVALID_PROMPTS, str(error)) from error
    for problem in prompts.left_out():
        say(f"{job.prompts.path}: {problem}; left out")
    return prompts


def _space(job: Job, ready: Ready, say: Callable[[str], None]) -> None:
    found = space.verdict(space.needed(job, ready.prompts.shapes(), ready.counts), space.free(ready.layout.root))
    if found is None:
        return
    refuse, text = found
    if refuse:
        raise RefusedError(Exit.OUTPUT_VOLUME, text)
    say(f"WARNING: {text}")


def _gpus(job: Job) -> None:
    try:
        found = gpus.count()
    except gpus.NoGpuError as error:
        raise RefusedError(Exit.GPU_COUNT, f"no GPU in this pod: {error}") from error
    if found < job.gpus_per_pod:
        raise RefusedError(Exit.GPU_COUNT, f"{found} GPUs in this pod, the job needs {job.gpus_per_pod}")
