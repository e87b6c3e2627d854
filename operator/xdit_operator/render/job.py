"""The ConfigMap with the resolved job: workers read this, not the resource."""

import json

from xdit_api import API_VERSION, pod
from xdit_api.base import Json
from xdit_api.job import Job, JobModel, JobOutput, JobPrompts
from xdit_api.prompts import inline_jsonl
from xdit_operator import names
from xdit_operator.render.source import Source

_REPORT_SECONDS = 10
"""Of the pod's grace period, for the worker to end its ranks and to say how it went."""


def resolved(source: Source) -> Job:
    """The same for all replicas and attempts."""
    spec, plan = source.spec, source.plan
    return Job(
        api_version=API_VERSION,
        name=source.name,
        namespace=source.namespace,
        uid=source.uid,
        device="cpu" if spec.gpu_resource == "none" else "cuda",
        gpus=plan.gpus,
        gpus_per_pod=plan.gpus_per_pod,
        degrees=plan.degrees,
        model=JobModel(id=spec.model.id, path=str(plan.model_path), dtype=spec.model.dtype, loras=spec.model.loras),
        prompts=JobPrompts(
            path=str(plan.prompts_path),
            format=plan.prompts_format,
            policy=spec.prompts.policy,
            # the whole claim: images may stand beside the prompt file's directory
            root=str(pod.PROMPTS_DIR) if spec.prompts.volume is not None else None,
        ),
        defaults=spec.defaults,
        output=JobOutput(path=str(plan.output_path), volume_path=plan.volume_path, format=spec.output.format),
        engine=spec.engine,
        stall_seconds=spec.stall_seconds,
        grace_seconds=max(1, spec.worker.termination_grace_period_seconds - _REPORT_SECONDS),
    )


def render(source: Source) -> Json:
    """job.json, and prompts.jsonl when the prompts are inline."""
    data = {pod.JOB_FILE.name: json.dumps(resolved(source).dump(), indent=1, ensure_ascii=False) + "\n"}
    if source.spec.prompts.inline is not None:
        data[pod.INLINE_PROMPTS.name] = inline_jsonl(source.spec.prompts.inline)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": source.metadata(names.job_config_map(source.name)),
        "data": data,
    }
