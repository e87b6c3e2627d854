"""Jobs for tests: a model directory that passes preflight, prompts, an output directory."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xdit_api import API_VERSION
from xdit_api.job import Job
from xdit_api.prompts import Prompt, image_seed

UID = "0a1b2c3d-0000-4000-8000-000000000000"


def safetensors(path: Path, elements: int = 64, fill: int = 0) -> None:
    """A valid weight file with one tensor of bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [elements], "data_offsets": [0, elements]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes([fill]) * elements)


def make_model(path: Path, heads: int = 4) -> Path:
    """The skeleton of a FLUX directory."""
    parts = {
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    path.mkdir(parents=True)
    (path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline", **parts, "image_encoder": [None, None]}))
    for part in parts:
        (path / part).mkdir()
    (path / "transformer/config.json").write_text(json.dumps({"num_attention_heads": heads}))
    (path / "vae/config.json").write_text("{}")
    (path / "scheduler/scheduler_config.json").write_text("{}")
    (path / "tokenizer/tokenizer.json").write_text("{}")
    safetensors(path / "transformer/diffusion_pytorch_model.safetensors")
    safetensors(path / "vae/diffusion_pytorch_model.safetensors")
    return path


def make_job(root: Path, lines: list[Any] | int = 4, *, text: str | None = None, **changes: Any) -> Job:
    """A job below `root`. lines: JSON records, or how many prompts of 64 x 64; text: the prompt file instead of lines.

    changes: fields of the job in camelCase; dictionaries are merged.
    """
    records = [{"id": f"p{i:04d}", "prompt": f"picture {i}"} for i in range(lines)] if isinstance(lines, int) else lines
    prompts = root / "prompts.jsonl"
    prompts.parent.mkdir(parents=True, exist_ok=True)
    prompts.write_text("".join(json.dumps(r) + "\n" for r in records) if text is None else text)
    model = root / "model"
    if not model.exists():
        make_model(model)
    spec: dict[str, Any] = {
        "apiVersion": API_VERSION, "name": "job", "namespace": "test", "uid": UID, "device": "cpu", "gpus": 1, "gpusPerPod": 1,
        "degrees": {}, "model": {"id": "xdit-dev/tiny-flux", "path": str(model), "dtype": "float32"},
        "prompts": {"path": str(prompts), "format": "jsonl"},
        "defaults": {"width": 64, "height": 64, "steps": 2},
        "output": {"path": str(root / "out"), "volumePath": "posters"},
    }  # fmt: skip
    for name, value in changes.items():
        spec[name] = {**spec[name], **value} if isinstance(value, dict) and name in spec else value
    return Job.model_validate(spec)


def picture(job: Job, prompt: Prompt, k: int) -> npt.NDArray[np.uint8]:
    """The same noise for the same inputs, as a model would make."""
    random = np.random.default_rng(image_seed(job.defaults.seed, prompt, k))
    return random.integers(0, 256, (prompt.height, prompt.width, 3), dtype=np.uint8)
