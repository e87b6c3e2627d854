"""Whether a model directory is whole and safe to load, found out without loading it."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from xdit_api.base import Json

_EXPECTED = "expected a diffusers directory: model_index.json and one directory for each of its parts, weights as .safetensors"
_UNSAFE = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}
_WEIGHTLESS = ("tokenizer", "scheduler", "processor", "feature_extractor")
"""Names of parts, or what their names begin with, that have settings but no weights."""
_MAX_HEADER = 100_000_000


class ModelError(Exception):
    """The model directory cannot be used; says what is wrong and what is expected."""


_BACKBONES = ("transformer", "unet")
"""The part that is split over GPUs; a model has one of them."""
_SHARD = re.compile(r"-\d{5}-of-\d{5}\Z")


def check(model: Path) -> tuple[Json, Json]:
    """model_index.json and the transformer's (or UNet's) config.json of a usable directory. Raises ModelError.

    Reads the headers of weight files, not the weights: a file that a broken download cut short is found by its size.
    """
    if not model.is_dir():
        raise ModelError(f"model directory {model} does not exist; {_EXPECTED}")
    try:
        index = _object(model / "model_index.json")
        for problem in _unsafe(model):
            raise ModelError(problem)
        parts = {name: value for name, value in index.items() if isinstance(value, list) and len(value) == 2 and value[0]}
        for name, (_, kind) in sorted(parts.items()):
            _check_part(model / name, str(kind))
        backbone = next((name for name in _BACKBONES if name in parts), None)
        if backbone is None:
            raise ModelError(f"{model}/model_index.json has no part {' or '.join(map(repr, _BACKBONES))}; {_EXPECTED}")
        return index, _object(model / backbone / "config.json")
    except OSError as error:
        raise ModelError(
            f"cannot read {error.filename or model}: {error.strerror} (this process is uid {os.getuid()})"
        ) from error


def _unsafe(model: Path) -> Iterator[str]:
    """Files that would run code when they are loaded."""
    found = sorted(p.relative_to(model).as_posix() for p in model.rglob("*") if p.suffix.lower() in {*_UNSAFE, ".py"})
    if found:
        listed = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        yield (
            f"{model} has files that can run code when they are loaded: {listed}. Remove them; weights must be .safetensors, and "
            "models with code of their own are not run"
        )


def _check_part(part: Path, kind: str) -> None:
    if not part.is_dir():
        raise ModelError(f"{part} is missing, but model_index.json names it ({kind}); {_EXPECTED}")
    if part.name.startswith(_WEIGHTLESS) or part.name.endswith(_WEIGHTLESS):
        if not any(part.iterdir()):
            raise ModelError(f"{part} ({kind}) is empty; {_EXPECTED}")
        return
    _object(part / "config.json")
    weights = sorted(part.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"{part} ({kind}) has no .safetensors file; {_EXPECTED}")
    _check_names(part, kind, weights)
    for index in part.glob("*.safetensors.index.json"):
        shards = set(_object(index).get("weight_map", {}).values())
        missing = sorted(name for name in shards if not (part / name).is_file())
        if missing:
            raise ModelError(f"{part}: {len(missing)} of {len(shards)} weight files are missing: {', '.join(missing[:5])}")
    for path in weights:
        _check_weights(path)


def _check_names(part: Path, kind: str, weights: list[Path]) -> None:
    """Weights are loaded by their plain names: those of a variant alone, and shards without their index, are not found."""
    plain = [path for path in weights if "." not in path.stem]
    if not plain:
        variant = weights[0].stem.partition(".")[2].partition("-")[0]
        raise ModelError(
            f"{part} ({kind}) has weights of the variant '{variant}' only ({weights[0].name}). Download the model without a "
            f"variant, or rename the files so that '.{variant}' is gone (also inside the .index.json); spec.model.dtype decides "
            "the precision"
        )
    if all(_SHARD.search(path.stem) for path in plain) and not list(part.glob("*.safetensors.index.json")):
        raise ModelError(f"{part} ({kind}) has shards ({plain[0].name}, …) but no .safetensors.index.json that names them")


def _check_weights(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER):
            raise ModelError(f"{path} is not a whole .safetensors file ({size} bytes): download it again")
        try:
            header = json.loads(file.read(length))
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path} has no readable .safetensors header: download it again") from error
    if size != 8 + length + end:
        raise ModelError(f"{path} has {size} bytes, its header says {8 + length + end}: download it again")


def _object(path: Path) -> Json:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; {_EXPECTED}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} is not a JSON object")
    return found
