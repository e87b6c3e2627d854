"""The job of scripts that drive an engine without a ledger."""

from pathlib import Path

from xdit_api.job import Degrees, Job, JobModel, JobOutput, JobPrompts


def cpu_job(model: Path, degrees: Degrees) -> Job:
    """float32 on CPU ranks; prompts and output are nowhere."""
    return Job(
        api_version="xdit.dev/v1alpha1",
        name="parity",
        uid="parity",
        device="cpu",
        gpus=degrees.world_size,
        gpus_per_pod=degrees.world_size,
        degrees=degrees,
        model=JobModel(id="xdit-dev/tiny", path=str(model), dtype="float32"),
        prompts=JobPrompts(path="/none", format="jsonl"),
        output=JobOutput(path="/none"),
    )
