"""Which files of a repository are fetched; pure."""

import json
from collections.abc import Mapping

import pytest

from tests.unit.runtime.fetch.models import extras, wanted
from xdit_runtime.fetch import choose
from xdit_runtime.fetch.choose import RepoFile
from xdit_runtime.fetch.exits import Exit, FetchError

WHOLE = "transformer/diffusion_pytorch_model.safetensors"
SHARD_INDEX = f"{WHOLE}.index.json"


def chosen(*paths: str, include: tuple[str, ...] = (), index: Mapping[str, object] | None = None) -> list[str]:
    listing = [RepoFile(path, 1, None, "b") for path in ("model_index.json", *paths)]
    content = {"_class_name": "P", "transformer": ["diffusers", "T"], **(index or {})}
    return [file.path for file in choose.files(listing, json.dumps(content).encode(), "lab/m", include)]


def refusal(*paths: str, include: tuple[str, ...] = (), index: Mapping[str, object] | None = None) -> FetchError:
    with pytest.raises(FetchError) as caught:
        chosen(*paths, include=include, index=index)
    return caught.value


def test_a_repository_like_flux() -> None:
    files: Mapping[str, bytes] = wanted(10) | extras()
    listing = [RepoFile(path, len(content), None, "b") for path, content in files.items()]
    assert [file.path for file in choose.files(listing, files["model_index.json"], "lab/m", ())] == sorted(wanted(10))


@pytest.mark.parametrize(
    ("library", "expected"),
    [("diffusers", ["-00001-of-00001.safetensors", ".safetensors.index.json"]), ("transformers", [".safetensors"])],
)
def test_of_whole_and_sharded_weights_those_that_the_library_loads(library: str, expected: list[str]) -> None:
    stem = "t/diffusion_pytorch_model" if library == "diffusers" else "t/model"
    paths = [f"{stem}.safetensors", f"{stem}.safetensors.index.json", f"{stem}-00001-of-00001.safetensors"]
    found = chosen("t/config.json", "transformer/config.json", WHOLE, *paths, index={"t": [library, "X"]})
    assert [path for path in found if path.startswith(stem)] == [f"{stem}{end}" for end in expected]


def test_variants_and_other_formats_stay_out() -> None:
    stem = "transformer/diffusion_pytorch_model"
    others = [f"{stem}.fp16.safetensors", f"{stem}-00001-of-00002.fp16.safetensors", f"{stem}.safetensors.index.fp16.json"]
    others += [f"{stem}.bin", f"{stem}.bin.index.json", "transformer/model.onnx", "transformer/x.py", "transformer/deep/a.json"]
    assert chosen("transformer/config.json", WHOLE, *others) == ["model_index.json", "transformer/config.json", WHOLE]


def test_parts_that_are_null_are_no_parts() -> None:
    assert WHOLE in chosen(
        "transformer/config.json", WHOLE, index={"image_encoder": [None, None], "flag": True, "size": [1, 2, 3]}
    )


@pytest.mark.parametrize(
    ("paths", "index", "words"),
    [
        (
            ["transformer/model.pt", "transformer/b.ckpt"],
            {},
            "the weights of transformer are not .safetensors: transformer/b.ckpt, transformer/m",
        ),
        (["transformer/config.json"], {}, "transformer/ has no weights: diffusion_pytorch_model.safetensors is missing"),
        ([WHOLE.replace(".s", ".fp16.s")], {}, "workers load the weights without a variant"),
        ([SHARD_INDEX, WHOLE.replace(".s", "-00001-of-00003.s")], {}, "transformer/ has 1 of 3 weight files"),
        ([], {}, "names the part 'transformer', but the repository has no files in transformer/"),
        ([WHOLE], {"vae": ["my_vae", "Vae"]}, 'names code of its own (vae: ["my_vae", "Vae"])'),
        ([WHOLE], {"_class_name": ["pipeline", "Mine"]}, 'names code of its own (_class_name: ["pipeline", "Mine"])'),
        ([WHOLE], {"../x": ["diffusers", "X"]}, "names a part '../x', which cannot be the name of a directory"),
    ],
)
def test_models_that_workers_could_not_load_safely(paths: list[str], index: dict[str, object], words: str) -> None:
    error = refusal(*paths, index=index)
    assert error.exit == Exit.INVALID_MODEL
    assert words in str(error)


def test_more_files_by_pattern() -> None:
    paths = ["transformer/config.json", WHOLE, "loras/a.safetensors", "loras/b.safetensors", "loras/b.bin"]
    assert [path for path in chosen(*paths, include=("loras/*.safetensors",)) if "lora" in path] == paths[2:4]
    for pattern, words in (("none/*", "matches no file"), ("loras/*", "matches loras/b.bin: only .safetensors")):
        error = refusal(*paths, include=(pattern,))
        assert error.exit == Exit.INVALID_JOB
        assert words in str(error)


@pytest.mark.parametrize("path", ["../../etc/x.json", "/etc/x.json", "a/../x.json", "a\\x.json", ".xdit-fetch.json"])
def test_a_hub_cannot_choose_where_files_go(path: str) -> None:
    assert "cannot be kept under that name" in str(refusal("transformer/config.json", WHOLE, path, include=("*x*.json",)))


def test_a_repository_that_is_no_pipeline() -> None:
    with pytest.raises(FetchError, match=r"it has no model_index.json \(it has model.safetensors\)"):
        choose.require_index([RepoFile("model.safetensors", 1, None, "b")], "lab/m")
    for content in (b"{", b"[]"):
        with pytest.raises(FetchError, match="is not"):
            choose.files([RepoFile("model_index.json", 1, None, "b")], content, "lab/m", ())


@pytest.mark.parametrize("file", [RepoFile("model_index.json", -1, None, "b"), RepoFile("model_index.json", 1, None, "")])
def test_what_cannot_be_verified_is_not_fetched(file: RepoFile) -> None:
    with pytest.raises(FetchError, match="no size or no checksum of model_index") as caught:
        choose.files([file], b"{}", "lab/m", ())
    assert caught.value.exit == Exit.FETCH_FAILED


def test_a_file_that_plain_http_does_not_serve_is_refused() -> None:
    files = wanted(10)
    listing = [RepoFile(path, 50_000_000_001 if "00002.s" in path else 10, "0", "b") for path in files]
    with pytest.raises(FetchError, match=r"of-00002.safetensors has 50 GB, and hubs serve at most 50 GB") as caught:
        choose.files(listing, files["model_index.json"], "lab/m", ())
    assert caught.value.exit == Exit.INVALID_MODEL
