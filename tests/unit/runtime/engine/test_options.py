import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from xdit_api.catalogue import ModelFacts
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


DATA2 = {"degrees": {"lanes": 2}, "gpus": 2}
ULYSSES2 = {"degrees": {"ulysses": 2}, "gpus": 2}
CFG2 = {"degrees": {"cfg": 2}, "gpus": 2}
PIPEFUSION2 = {"degrees": {"pipefusion": 2}, "gpus": 2}
FLOAT32 = {"model": {"id": "m", "path": "/m", "dtype": "float32"}}
LORA = {"model": {"id": "m", "path": "/m", "loras": [{"name": "ink", "path": "ink.safetensors"}]}}
CPU = {"device": "cpu", **FLOAT32}


def family(name: str) -> ModelFacts:
    return ModelFacts(name, heads=24)


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("flux", {}),
        ("flux", {"engine": {"compile": "Never", "attention": "CUDNN", "vae": {"tiling": "On", "slicing": True}}}),
        ("flux", {"engine": {"attention": "Flash"}, "degrees": {"ulysses": 2, "ring": 2}, "gpus": 4}),
        ("flux", {"engine": {"attention": "SDPA"}}),
        ("flux", CPU),
        ("flux", {"engine": {"cache": "TeaCache"}}),
        ("flux", {"engine": {"cache": "FBCache", "quantization": "Int8", "offload": "TextEncoder"}, **LORA}),
        ("flux", {"engine": {"cache": "TeaCache"}, **ULYSSES2}),
        ("flux", {"engine": {"cache": "FBCache"}, "degrees": {"ring": 2}, "gpus": 2}),
        ("qwen_image", {"engine": {"cache": "FBCache"}, **ULYSSES2}),
        ("sd3", {"engine": {"cache": "FBCache"}}),
        ("sd3", {"engine": {"cache": "FBCache"}, **DATA2}),
        ("z_image", {"engine": {"cache": "FBCache", "quantization": "FP8", "offload": "TextEncoder"}}),
        ("flux", {"engine": {"quantization": "FP8"}, "degrees": {"ulysses": 2, "ring": 2}, "gpus": 4}),
        ("sana", {"engine": {"quantization": "Int8"}, **CPU}),
        ("sd3", {"engine": {"quantization": "Int8"}, **PIPEFUSION2}),
        ("sdxl", {"engine": {"quantization": "Int8"}, **CFG2}),
        ("flux", {"engine": {"offload": "TextEncoder"}, **ULYSSES2}),
        ("flux", {"engine": {"offload": "Model"}, **DATA2}),
        ("flux", {"engine": {"offload": "Model"}, **CPU}),
    ],
)
def test_what_this_version_can_do(model: str, changes: dict[str, Any]) -> None:
    assert unsupported(job(**changes), family(model)) == []
    assert unsupported(job(**changes)) == []


@pytest.mark.parametrize(
    ("model", "changes", "said", "instead"),
    [
        ("sana", {"engine": {"cache": "FBCache"}}, "engine.cache FBCache does not know the blocks of sana", "use None"),
        ("sd3", {"engine": {"cache": "TeaCache"}}, "engine.cache TeaCache is fitted to FLUX.1", "use FBCache"),
        ("sd3", {"engine": {"cache": "FBCache"}, **ULYSSES2}, "with ulysses 2", "use parallelism.data"),
        ("z_image", {"engine": {"cache": "FBCache"}, **ULYSSES2}, "with ulysses 2", "use parallelism.data"),
        ("qwen_image", {"engine": {"cache": "FBCache"}, **CFG2}, "with cfg 2", "use parallelism.data"),
        ("flux", {"engine": {"cache": "FBCache"}, **PIPEFUSION2}, "with pipefusion 2", "use parallelism.data"),
        ("flux", {"engine": {"offload": "Model"}, **ULYSSES2}, "ulysses 2 shares them", "use TextEncoder"),
        ("flux", {"engine": {"offload": "Model", "quantization": "Int8"}}, "cannot move a quantised model", "use TextEncoder"),
        ("flux", {"engine": {"offload": "Model"}, **LORA}, "cannot load model.loras", "use TextEncoder"),
        ("flux", {"engine": {"quantization": "FP8"}, **CPU}, "engine.quantization FP8 needs GPUs", "use Int8"),
        ("flux", {"engine": {"quantization": "FP8"}, **FLOAT32}, "not with float32", "use bfloat16"),
        ("flux", {"engine": {"attention": "Flash3"}}, "engine.attention Flash3", "use Auto"),
        ("flux", {"engine": {"attention": "SDPA"}, **ULYSSES2}, "engine.attention SDPA", "use Auto"),
        ("flux", {"engine": {"attention": "CUDNN"}, **FLOAT32}, "float32", "use Auto"),
        ("flux", {"engine": {"attention": "Flash"}, "device": "cpu"}, "engine.attention Flash", "use Auto for CPU ranks"),
    ],
)
def test_what_it_cannot_do_is_said_with_what_to_write_instead(
    model: str, changes: dict[str, Any], said: str, instead: str
) -> None:
    (reason,) = unsupported(job(**changes), family(model))
    assert said in reason
    assert instead in reason


@pytest.mark.parametrize(("name", "value"), [("cache", "FBCache"), ("offload", "Model")])
def test_what_may_be_away_is_not_compiled_even_if_wanted(name: str, value: str) -> None:
    reasons = unsupported(job(engine={"compile": "Always", name: value}), family("flux"))
    assert any(
        "cannot compile" in reason and f"engine.{name} {value}" in reason and "use compile Never" in reason for reason in reasons
    )


def test_every_refusal_is_said_at_once() -> None:
    found = unsupported(
        job(engine={"attention": "Flash", "cache": "FBCache", "quantization": "FP8"}, device="cpu"), family("sdxl")
    )
    assert len(found) == 3


def test_preflight_can_ask_without_torch() -> None:
    code = "import sys, xdit_runtime.engine.options, xdit_runtime.engine.errors; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_image_without_torchao_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    (reason,) = unsupported(job(engine={"quantization": "Int8"}))
    assert "needs the package torchao" in reason
    assert unsupported(job()) == []
