"""`load` reads what every Docker version saves, and writes archives that hold only what a node lacks."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.cluster.load_images import Image, full_reference, mark, parse, write_oci

LAYERS = (b"first layer", b"second layer")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


CONFIG = json.dumps({"rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(layer)}" for layer in LAYERS]}}).encode()


def archive(path: Path, files: Mapping[str, bytes], layers: list[str]) -> Path:
    entry = {"Config": next(iter(files)), "RepoTags": ["app:dev"], "Layers": layers}
    with tarfile.open(path, "w") as target:
        for name, content in {**files, "manifest.json": json.dumps([entry]).encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return path


def saved_by_docker_20(path: Path) -> Path:
    """A folder per layer, layers as they are."""
    names = ["aa/layer.tar", "bb/layer.tar"]
    return archive(path, {f"{digest(CONFIG)}.json": CONFIG, **dict(zip(names, LAYERS, strict=True))}, names)


def saved_by_docker_25(path: Path) -> Path:
    """An OCI layout; with containerd's store, the layers may be compressed."""
    blobs = [LAYERS[0], gzip.compress(LAYERS[1], mtime=0)]
    names = [f"blobs/sha256/{digest(blob)}" for blob in blobs]
    return archive(path, {f"blobs/sha256/{digest(CONFIG)}": CONFIG, **dict(zip(names, blobs, strict=True))}, names)


def only_image(path: Path) -> Image:
    with tarfile.open(path) as opened:
        (image,) = parse(opened)
    return image


def blobs_for(path: Path, present: frozenset[str]) -> tuple[set[str], int]:
    """Digests of the blobs that an archive for a node with `present` holds, each checked; bytes of layers."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w|") as target:
        sent = write_oci(target, path, [only_image(path)], present)
    buffer.seek(0)
    found = set()
    with tarfile.open(fileobj=buffer) as written:
        for member in written:
            if member.name.startswith("blobs/sha256/"):
                content = written.extractfile(member)
                assert content is not None
                assert digest(content.read()) == member.name.removeprefix("blobs/sha256/")
                found.add(member.name.removeprefix("blobs/sha256/"))
    return found, sent


def test_layers_of_an_older_docker_are_named_after_the_config(tmp_path: Path) -> None:
    image = only_image(saved_by_docker_20(tmp_path / "saved.tar"))
    assert image.reference == "docker.io/library/app:dev"
    assert [(blob.digest, blob.size, blob.compressed) for blob in image.layers] == [
        (digest(layer), len(layer), False) for layer in LAYERS
    ]


def test_blobs_of_a_newer_docker_keep_their_names(tmp_path: Path) -> None:
    image = only_image(saved_by_docker_25(tmp_path / "saved.tar"))
    assert [blob.compressed for blob in image.layers] == [False, True]
    kinds = [
        layer["mediaType"].removeprefix("application/vnd.oci.image.layer.v1.") for layer in json.loads(image.manifest)["layers"]
    ]
    assert kinds == ["tar", "tar+gzip"]


@pytest.mark.parametrize("save", [saved_by_docker_20, saved_by_docker_25])
def test_archive_holds_what_the_node_lacks_and_nothing_else(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    path = save(tmp_path / "saved.tar")
    image = only_image(path)
    documents = {digest(image.config), digest(image.manifest)}
    first, second = image.layers
    assert blobs_for(path, frozenset()) == (documents | {first.digest, second.digest}, first.size + second.size)
    assert blobs_for(path, frozenset({first.digest})) == (documents | {second.digest}, second.size)
    assert blobs_for(path, frozenset({first.digest, second.digest})) == (documents, 0)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("app:dev", "docker.io/library/app:dev"),
        ("local/debian:x", "docker.io/local/debian:x"),
        ("ghcr.example/app:1", "ghcr.example/app:1"),
        ("localhost/app:1", "localhost/app:1"),
        ("host:5000/app:1", "host:5000/app:1"),
    ],
)
def test_references_are_written_as_containerd_does(name: str, full: str) -> None:
    assert full_reference(name) == full


def test_mark_tells_apart_what_docker_has_from_what_the_node_has() -> None:
    marks = {mark(f"sha256:{a * 64}", f"sha256:{b * 64}") for a in "12" for b in "12"}
    assert len(marks) == 4
