"""FLUX.1 as diffusers knows it: loading, arguments of a call, and the way from its output to bytes."""

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_runtime.engine.base import Image, OnPart, OnStep, Request

TILING_PIXELS = 2048 * 2048
"""Above this many pixels the VAE decodes in tiles when vae.tiling is Auto."""
_LIBRARIES = ("diffusers", "transformers")


def _check_index(directory: Path) -> None:
    """Raise ValueError unless every component comes from a known library.

    diffusers runs Python files of a model directory when model_index.json names them; a model must stay data.
    """
    index: Json = json.loads((directory / "model_index.json").read_text(encoding="utf-8"))
    if index.get("_class_name") != "FluxPipeline":
        raise ValueError(f"{directory}: model_index.json names {index.get('_class_name')!r}, not FluxPipeline")
    for name, entry in index.items():
        if isinstance(entry, list) and entry[0] not in (None, *_LIBRARIES):
            raise ValueError(f"{directory}: component '{name}' comes from '{entry[0]}', not from {' or '.join(_LIBRARIES)}")


def quiet() -> None:
    """Silence progress bars, and warnings that users can do nothing about or that come with every prompt of 78 words."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in ("transformers.utils.logging", "diffusers.utils.logging"):
        logs = importlib.import_module(name)
        logs.set_verbosity_error()
        logs.disable_progress_bar()


def load(job: Job, device: torch.device, on_part: OnPart) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The FluxPipeline on `device`, from safetensors files of the job's model directory only.

    One part at a time goes to the device, so that the host holds the largest part and not the sum. Raises ValueError
    or OSError for a directory that cannot be loaded.
    """
    from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel, T5EncoderModel

    directory = Path(job.model.path)
    _check_index(directory)
    dtype = getattr(torch, job.model.dtype)
    kinds = {
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel,
        "transformer": FluxTransformer2DModel,
        "vae": AutoencoderKL,
    }
    parts = {}
    for name, kind in kinds.items():
        on_part(name)
        made = kind.from_pretrained(directory, subfolder=name, dtype=dtype, use_safetensors=True, local_files_only=True)
        parts[name] = made.to(device).eval().requires_grad_(False)
    on_part("tokenizers")
    pipeline = FluxPipeline.from_pretrained(directory, dtype=dtype, local_files_only=True, **parts)
    pipeline.set_progress_bar_config(disable=True)
    if job.engine.vae.slicing:
        pipeline.vae.enable_slicing()
    return pipeline


def sequence_length(pipeline: Any) -> int:  # noqa: ANN401
    """Text tokens that the model was made for: 512 for models with embedded guidance (dev), 256 without (schnell)."""
    return 512 if pipeline.transformer.config.guidance_embeds else 256


def set_tiling(pipeline: Any, job: Job, request: Request) -> None:  # noqa: ANN401
    """Decode in tiles or not, for this picture."""
    wanted = job.engine.vae.tiling
    if wanted == "On" or (wanted == "Auto" and request.width * request.height > TILING_PIXELS):
        pipeline.vae.enable_tiling()
    else:
        pipeline.vae.disable_tiling()


def arguments(request: Request, embeddings: tuple[torch.Tensor, torch.Tensor], length: int, on_step: OnStep) -> Json:
    """Keyword arguments of one call. The noise comes from a CPU generator: equal on every kind of GPU and at any degree.

    A negative prompt has no effect on these models, so none is passed.
    """

    def after_step(_pipeline: object, index: int, _timestep: object, _tensors: Json) -> Json:
        on_step(index + 1, request.steps)
        return {}

    text, pooled = embeddings
    return {
        "prompt_embeds": text,
        "pooled_prompt_embeds": pooled,
        "height": request.height,
        "width": request.width,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "generator": torch.Generator("cpu").manual_seed(request.seed),
        "max_sequence_length": length,
        "output_type": "pt",
        "callback_on_step_end": after_step,
        "callback_on_step_end_tensor_inputs": [],
    }


def to_bytes(images: torch.Tensor) -> Image:
    """1 x 3 x H x W from 0 to 1 → H x W x 3 bytes, rounded on the device as diffusers rounds on the host."""
    scaled = images[0].float().mul_(255).round_().to(torch.uint8)
    made: Image = scaled.permute(1, 2, 0).contiguous().cpu().numpy()
    return made
