"""From a diffusers directory to a pipeline on the device, whatever the family.

Weights go from the file's pages straight to the device, one part after the other: ranks of a pod share the page cache and
none holds a copy of the model in host memory.
"""

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_runtime.engine import processors
from xdit_runtime.engine.base import OnPart
from xdit_runtime.engine.offload import Room

_LIBRARIES = ("diffusers", "transformers")


def model_index(directory: Path) -> Json:
    """model_index.json. Raises OSError, and ValueError when a component comes from anything but a known library.

    diffusers runs Python files of a model directory when model_index.json names them; a model must stay data.
    """
    index: Json = json.loads((directory / "model_index.json").read_text(encoding="utf-8"))
    for name, entry in index.items():
        if isinstance(entry, list) and entry[0] not in (None, *_LIBRARIES):
            raise ValueError(f"{directory}: component '{name}' comes from '{entry[0]}', not from {' or '.join(_LIBRARIES)}")
    return index


def quiet() -> None:
    """Silence progress bars, and warnings that users can do nothing about or that come with every prompt of 78 words."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in ("transformers.utils.logging", "diffusers.utils.logging"):
        logs = importlib.import_module(name)
        logs.set_verbosity_error()
        logs.disable_progress_bar()


def load(job: Job, device: torch.device, transformer: type | None, pipeline: type | None, on_part: OnPart) -> Any:  # noqa: ANN401
    """The pipeline on `device`, from safetensors files of the job's model directory only; parts that wait visit it later.

    transformer, pipeline: classes to use instead of those that model_index.json names; None: the named ones. Raises
    ValueError or OSError for a directory that cannot be loaded.
    """
    room = Room(job.engine.offload, device)
    directory = Path(job.model.path)
    index = model_index(directory)
    dtype = getattr(torch, job.model.dtype)
    parts: Json = {}
    for name, entry in index.items():
        if not isinstance(entry, list):
            if not name.startswith("_"):
                parts[name] = entry
            continue
        if entry[0] is None:
            parts[name] = None
            continue
        on_part(name)
        if entry[1] in processors.READERS:
            parts[name] = processors.READERS[entry[1]](directory / name)
            continue
        kind: Any = transformer if name == "transformer" and transformer is not None else _class(entry[0], entry[1])
        if issubclass(kind, torch.nn.Module):
            if room.waits(name):
                parts[name] = room.take(load_part(directory, name, kind, dtype, torch.device("cpu")))
            else:
                parts[name] = load_part(directory, name, kind, dtype, device)
        else:
            parts[name] = kind.from_pretrained(directory, subfolder=name, local_files_only=True)
    whole: Any = pipeline or _class("diffusers", str(index["_class_name"]))
    made = whole(**parts)
    made.set_progress_bar_config(disable=True)
    if job.engine.vae.slicing:
        made.vae.enable_slicing()
    return made


def load_part(directory: Path, name: str, kind: Any, dtype: torch.dtype, device: torch.device) -> torch.nn.Module:  # noqa: ANN401
    """One module of the model on `device`, ready for inference."""
    made: torch.nn.Module = kind.from_pretrained(
        directory,
        subfolder=name,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        device_map={"": str(device)} if device.type == "cuda" else None,
    )
    return made.to(device).eval().requires_grad_(False)


def _class(library: str, name: str) -> Any:  # noqa: ANN401
    kind = getattr(importlib.import_module(library), name, None)
    if kind is None:
        raise ValueError(f"model_index.json names {library}.{name}, which this version of {library} does not have")
    return kind
