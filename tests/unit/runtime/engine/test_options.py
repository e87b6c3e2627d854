import subprocess
import sys
from typing import Any

import pytest

from xdit_api.job import Job
from xdit_runtime.engine.options import unsupported

BASE: dict[str, Any] = {
    "apiVersion": "xdit.dev/v1alpha1",
    "name": "posters",
    "uid": "u",
    "gpus": 1,
    "gpusPerPod": 1,
    "degrees": {},
    "model": {"id": "m", "path": "/models"},
    "prompts": {"path": "/p.jsonl", "format": "jsonl"},
    "output": {"path": "/out"},
}


def job(**changes: Any) -> Job:
    return Job.model_validate({**BASE, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"engine": {"compile": "Never", "attention": "CUDNN", "vae": {"tiling": "On", "slicing": True}}},
        {"engine": {"attention": "Flash"}, "degrees": {"ulysses": 2, "ring": 2}, "gpus": 4},
        {"engine": {"attention": "SDPA"}},
        {"device": "cpu", "model": {"id": "m", "path": "/m", "dtype": "float32"}},
    ],
)
def test_what_this_version_can_do(changes: dict[str, Any]) -> None:
    assert unsupported(job(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engine": {"compile": "Always"}}, "engine.compile Always"),
        ({"engine": {"cache": "TeaCache"}}, "engine.cache TeaCache"),
        ({"engine": {"offload": "Model"}}, "engine.offload Model"),
        ({"engine": {"quantization": "FP8"}}, "engine.quantization FP8"),
        ({"engine": {"attention": "Flash3"}}, "engine.attention Flash3"),
        ({"engine": {"attention": "SDPA"}, "degrees": {"ulysses": 2}, "gpus": 2}, "engine.attention SDPA"),
        ({"engine": {"attention": "CUDNN"}, "model": {"id": "m", "path": "/m", "dtype": "float32"}}, "float32"),
        ({"engine": {"attention": "Flash"}, "device": "cpu"}, "use Auto for CPU ranks"),
        ({"model": {"id": "m", "path": "/m", "loras": [{"name": "ink", "path": "ink.safetensors"}]}}, "model.loras"),
    ],
)
def test_what_it_cannot_do_is_said_with_what_to_write_instead(changes: dict[str, Any], said: str) -> None:
    (reason,) = unsupported(job(**changes))
    assert said in reason
    assert "use " in reason


def test_every_refusal_is_said_at_once() -> None:
    assert len(unsupported(job(engine={"compile": "Always", "cache": "FBCache", "quantization": "Int8"}))) == 3


def test_preflight_can_ask_without_torch() -> None:
    code = "import sys, xdit_runtime.engine.options, xdit_runtime.engine.errors; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
