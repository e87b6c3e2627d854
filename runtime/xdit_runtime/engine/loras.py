"""LoRAs: loaded beside the model once, chosen and weighed for each picture, never fused into the weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xdit_api.spec import Lora
from xdit_runtime.engine.base import PlanError, PromptError, Request

Chosen = tuple[tuple[str, float], ...]


class Loras:
    """Those of a job, in one pipeline."""

    def __init__(self, pipeline: Any, family: str, directory: Path, loras: Sequence[Lora]) -> None:  # noqa: ANN401
        """Load them, before the model is wrapped or compiled. Their paths are relative to `directory`.

        Raises PlanError for a family without LoRAs, ValueError or OSError for a file that cannot be loaded.
        """
        self._pipeline = pipeline
        self._own: Chosen = tuple((lora.name, lora.scale) for lora in loras)
        if not loras:
            return
        if not hasattr(pipeline, "load_lora_weights"):
            raise PlanError(f"{family} models take no LoRAs; leave model.loras out or use a model with the LoRAs merged in")
        for lora in loras:
            _load(pipeline, lora, directory)
        self._now: Chosen | None = None

    def check(self, request: Request) -> None:
        """Raise PromptError for a LoRA that the job does not have."""
        known = [name for name, _ in self._own]
        for name, _ in request.loras or ():
            if name not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise PromptError(f"the job has no LoRA '{name}' in model.loras; {has}")

    def chosen(self, request: Request) -> Chosen:
        """Names and scales for this picture."""
        return self._own if request.loras is None else request.loras

    def use(self, request: Request) -> None:
        """Compute with those of this picture from now on. Equal on all ranks."""
        wanted = self.chosen(request)
        if not self._own or wanted == self._now:
            return
        if wanted:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters([name for name, _ in wanted], [scale for _, scale in wanted])
        else:
            self._pipeline.disable_lora()
        self._now = wanted


def _load(pipeline: Any, lora: Lora, directory: Path) -> None:  # noqa: ANN401
    path = directory / lora.path
    if path.suffix != ".safetensors":
        raise ValueError(f"LoRA '{lora.name}': {lora.path} is not a .safetensors file")
    if not path.is_file():
        raise ValueError(f"LoRA '{lora.name}': there is no file {path}")
    try:
        pipeline.load_lora_weights(
            str(path.parent), weight_name=path.name, adapter_name=lora.name, use_safetensors=True, local_files_only=True
        )
    except Exception as error:
        raise ValueError(f"LoRA '{lora.name}': {path} does not fit the model: {error}") from error
    if lora.name not in {name for names in pipeline.get_list_adapters().values() for name in names}:
        raise ValueError(f"LoRA '{lora.name}': {path} has no weights for any part of the model")
