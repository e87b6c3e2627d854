"""One small model with random weights for each family, as a diffusers pipeline: module NAME has `build(seed)`.

They are for tests, demos and clusters without a GPU. Every picture answers to each character of its prompt and to its seed.
"""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from xdit_runtime.tiny_models.parts import publish

DEFAULT_SEED = 4
"""Looks best: one letter of a prompt changes the colours."""


def families() -> list[str]:
    """Names of the families that have a small model."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in ("parts", "language"))


def build(family: str, seed: int = DEFAULT_SEED) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The diffusers pipeline of a family in float32, on the CPU. `family` is one of `families()`."""
    return importlib.import_module(f"{__name__}.{family}").build(seed)


def write(directory: Path, family: str, seed: int = DEFAULT_SEED) -> int:
    """Save the model into `directory`, readable by everyone; bytes written. Raises OSError as the file system does."""
    build(family, seed).save_pretrained(directory, safe_serialization=True)
    return publish(directory)
