"""Which files of a repository make a model that workers can load safely. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from xdit_api.base import Json
from xdit_runtime.fetch.exits import Exit, FetchError

INDEX = "model_index.json"
_TEXT = (".json", ".txt", ".model", ".jinja")
_PICKLE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_LIBRARIES = {"diffusers": "diffusion_pytorch_model", "transformers": "model", "stable_diffusion": "model"}
"""Libraries that may load a part, and the name that their weight files begin with."""
_LARGEST = 50_000_000_000
_WEIGHTLESS = ("tokenizer", "scheduler", "processor", "feature_extractor")
"""What the names of parts without weights begin or end with; the same that workers go by."""


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of the repository, as the hub describes it."""

    path: str
    size: int
    """Bytes; -1 when the hub does not say."""
    sha256: str | None
    """Of the content; None for small files that are in git itself."""
    blob: str
    """Id of the git object: of the content when there is no sha256."""


def files(listing: Sequence[RepoFile], index: bytes, repo: str, include: Sequence[str]) -> list[RepoFile]:
    """The files to fetch, sorted by path: model_index.json, its parts, and what `include` asks for. Raises FetchError."""
    parts = _parts(index, repo)
    by_path = {file.path: file for file in listing}
    wanted = {INDEX}
    for name, library in sorted(parts.items()):
        inside = sorted(path.removeprefix(f"{name}/") for path in by_path if path.startswith(f"{name}/"))
        inside = [path for path in inside if "/" not in path]
        if not inside:
            raise _invalid(repo, f"model_index.json names the part {name!r}, but the repository has no files in {name}/")
        wanted.update(f"{name}/{path}" for path in inside if path.endswith(_TEXT) and ".index." not in path)
        if not (name.startswith(_WEIGHTLESS) or name.endswith(_WEIGHTLESS)):
            wanted.update(f"{name}/{path}" for path in _weights(repo, name, library, inside))
    wanted.update(path for pattern in include for path in _included(repo, pattern, by_path))
    for path in sorted(wanted):
        if by_path[path].size < 0 or not (by_path[path].sha256 or by_path[path].blob):
            raise FetchError(
                Exit.FETCH_FAILED, f"the hub tells no size or no checksum of {path} of {repo}, so it could not be verified"
            )
        if by_path[path].size > _LARGEST:
            raise _invalid(
                repo,
                f"{path} has {by_path[path].size / 1e9:.0f} GB, and hubs serve at most {_LARGEST / 1e9:.0f} GB as one file over HTTP; use a "
                "repository with smaller shards, or put the model on a claim and use source.pvc",
            )
    return [by_path[path] for path in sorted(wanted)]


def require_index(listing: Sequence[RepoFile], repo: str) -> RepoFile:
    """model_index.json in the listing. Raises FetchError when the repository is not a diffusers directory."""
    for file in listing:
        if file.path == INDEX:
            return file
    found = ", ".join(sorted(file.path for file in listing)[:5]) or "nothing"
    raise _invalid(
        repo,
        f"it has no {INDEX} (it has {found}): workers need a diffusers repository, with one directory for each part of the pipeline; "
        "look for one whose name ends in -Diffusers, or convert the model",
    )


def _invalid(repo: str, text: str) -> FetchError:
    return FetchError(Exit.INVALID_MODEL, f"{repo} cannot be used: {text}")


def _parts(index: bytes, repo: str) -> dict[str, str]:
    """Names of the parts and the library of each."""
    try:
        content = json.loads(index)
    except ValueError as error:
        raise _invalid(repo, f"{INDEX} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _invalid(repo, f"{INDEX} is not a JSON object")
    custom = sorted(_custom(content))
    if custom:
        raise _invalid(
            repo, f"{INDEX} names code of its own ({', '.join(custom)}), and models with code of their own are never run"
        )
    parts = {name: str(value[0]) for name, value in content.items() if _is_part(value)}
    for name in parts:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise _invalid(repo, f"{INDEX} names a part {name!r}, which cannot be the name of a directory")
    return parts


def _is_part(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and bool(value[0])


def _custom(content: Json) -> Iterator[str]:
    for name, value in content.items():
        if name == "_class_name":
            if not isinstance(value, str):
                yield f"{name}: {json.dumps(value)}"
        elif name == "auto_map" or (_is_part(value) and value[0] not in _LIBRARIES):
            yield f"{name}: {json.dumps(value)}"


def _weights(repo: str, name: str, library: str, inside: Sequence[str]) -> list[str]:
    """The files that the library loads when it is not asked for a variant."""
    stem = _LIBRARIES[library]
    whole = f"{stem}.safetensors"
    shard_index = f"{whole}.index.json"
    shards = [path for path in inside if re.fullmatch(rf"{stem}-\d+-of-\d+\.safetensors", path)]
    # where there are both, diffusers loads the shards and transformers the whole file
    if whole in inside and (library != "diffusers" or shard_index not in inside):
        return [whole]
    if shard_index in inside and shards:
        count = int(shards[0].rsplit("-", 1)[1].removesuffix(".safetensors"))
        if len(shards) != count:
            raise _invalid(repo, f"{name}/ has {len(shards)} of {count} weight files {stem}-….safetensors")
        return [shard_index, *shards]
    others = [path for path in inside if path.endswith((*_PICKLE, ".safetensors", ".msgpack", ".h5", ".onnx"))]
    listed = ", ".join(f"{name}/{path}" for path in others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    if any(path.endswith(".safetensors") for path in others):
        raise _invalid(repo, f"{name}/ has no {whole}, only {listed}; workers load the weights without a variant")
    if others:
        raise _invalid(
            repo,
            f"the weights of {name} are not .safetensors: {listed}. Such files can run code when they are loaded; look for a commit "
            "that has .safetensors (many repositories keep one under refs/pr), or convert the model",
        )
    raise _invalid(repo, f"{name}/ has no weights: {whole} is missing")


def _included(repo: str, pattern: str, by_path: Mapping[str, RepoFile]) -> list[str]:
    found = [path for path in by_path if fnmatchcase(path, pattern)]
    if not found:
        raise FetchError(Exit.INVALID_JOB, f"--include {pattern!r} matches no file of {repo}")
    for path in found:
        if not path.endswith((".safetensors", *_TEXT)):
            raise FetchError(
                Exit.INVALID_JOB,
                f"--include {pattern!r} matches {path}: only .safetensors, {', '.join(_TEXT)} are fetched. Use a narrower pattern",
            )
        # the hub is not trusted with names of files on the volume
        if "\\" in path or any(piece.startswith(".") for piece in PurePosixPath(path).parts) or path.startswith("/"):
            raise _invalid(repo, f"it has a file named {path!r}, which cannot be kept under that name")
    return found
