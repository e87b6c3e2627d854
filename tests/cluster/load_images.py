"""Brings Docker images into the cluster's nodes: only to nodes that lack them, and only the layers that a node lacks.

`docker save` is read once; each node gets an OCI archive without the layers that its containerd already has. Compared with loading
everything, a change of the top layer costs the `docker save` alone.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

DEADLINE = 900
LABEL = "xdit.dev/loaded"
OCI = "application/vnd.oci.image"


class LoadError(Exception):
    """Something that the user has to know; the text says what."""


@dataclass(frozen=True)
class Blob:
    """A layer: where it is in Docker's archive, its sha256 and size, and whether it is compressed."""

    path: str
    digest: str
    size: int
    compressed: bool


@dataclass(frozen=True)
class Image:
    """An image as OCI documents."""

    reference: str
    config: bytes
    layers: tuple[Blob, ...]

    @property
    def manifest(self) -> bytes:
        """The OCI manifest; the same bytes for the same image."""
        layers = [
            {"mediaType": f"{OCI}.layer.v1.tar{'+gzip' * blob.compressed}", "digest": f"sha256:{blob.digest}", "size": blob.size}
            for blob in self.layers
        ]
        config = {"mediaType": f"{OCI}.config.v1+json", "digest": f"sha256:{sha256(self.config)}", "size": len(self.config)}
        document = {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": config, "layers": layers}
        return json.dumps(document).encode()


def sha256(content: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def run(*command: str) -> str:
    """Standard output of a command. Raises LoadError with its words."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    if done.returncode != 0:
        raise LoadError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def full_reference(name: str) -> str:
    """`app:dev` as containerd writes it: `docker.io/library/app:dev`."""
    host, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    return name if "." in host or ":" in host or host == "localhost" else f"docker.io/{name}"


def ctr(node: str, *arguments: str) -> str:
    """containerd's own client, in the node."""
    return run("docker", "exec", node, "ctr", "-n", "k8s.io", *arguments)


def mark(docker_id: str, manifest_digest: str) -> str:
    """What a node's image is labelled with: which image of Docker's it is, and that nobody has replaced it since."""
    return f"{docker_id.removeprefix('sha256:')[:16]}-{manifest_digest.removeprefix('sha256:')[:16]}"


def lacks(node: str, reference: str, docker_id: str) -> bool:
    """Does the node lack exactly this image?"""
    for line in ctr(node, "images", "ls", f"name=={reference}").splitlines()[1:]:
        if f"{LABEL}={mark(docker_id, line.split()[2])}" in line:
            return False
    return True


def parse(archive: tarfile.TarFile) -> Iterator[Image]:
    """The images of a `docker save`, of any Docker version."""
    for entry in json.loads(read(archive, "manifest.json")):
        config = read(archive, entry["Config"])
        diff_ids = [each.removeprefix("sha256:") for each in json.loads(config)["rootfs"]["diff_ids"]]
        layers = []
        for path, diff_id in zip(entry["Layers"], diff_ids, strict=True):
            # either a layer as it is (its digest is the one in the config) or a blob that is named after its digest
            digest = path.removeprefix("blobs/sha256/") if path.startswith("blobs/sha256/") else diff_id
            layers.append(Blob(path, digest, size_of(archive, path), compressed=digest != diff_id))
        for tag in entry["RepoTags"] or []:
            yield Image(full_reference(tag), config, tuple(layers))


def open_member(archive: tarfile.TarFile, path: str) -> IO[bytes]:
    """A file of the archive; links are followed."""
    found = archive.extractfile(path)
    if found is None:
        raise LoadError(f"docker save wrote {path}, which is not a file")
    return found


def read(archive: tarfile.TarFile, path: str) -> bytes:
    """The content of a file of the archive."""
    with open_member(archive, path) as found:
        return found.read()


def size_of(archive: tarfile.TarFile, path: str) -> int:
    """Bytes of a file of the archive."""
    with open_member(archive, path) as found:
        return found.seek(0, io.SEEK_END)


def add(target: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    """One file of an OCI archive."""
    member = tarfile.TarInfo(name)
    member.size = size
    target.addfile(member, content)


def write_oci(target: tarfile.TarFile, saved: Path, images: Sequence[Image], present: frozenset[str]) -> int:
    """Write the images as an OCI archive without the blobs that are `present`; returns the bytes of layers written."""
    documents: dict[str, bytes] = {}
    index: list[Mapping[str, Any]] = []
    for image in images:
        documents[sha256(image.config)] = image.config
        documents[sha256(image.manifest)] = image.manifest
        index.append(
            {
                "mediaType": f"{OCI}.manifest.v1+json",
                "digest": f"sha256:{sha256(image.manifest)}",
                "size": len(image.manifest),
                "annotations": {"io.containerd.image.name": image.reference},
            }
        )
    top = {"oci-layout": {"imageLayoutVersion": "1.0.0"}, "index.json": {"schemaVersion": 2, "manifests": index}}
    for name, document in top.items():
        text = json.dumps(document).encode()
        add(target, name, len(text), io.BytesIO(text))
    for digest, content in documents.items():
        add(target, f"blobs/sha256/{digest}", len(content), io.BytesIO(content))
    missing = {blob.digest: blob for image in images for blob in image.layers if blob.digest not in present}
    with tarfile.open(saved) as archive:
        for blob in missing.values():
            with open_member(archive, blob.path) as layer:
                add(target, f"blobs/sha256/{blob.digest}", blob.size, layer)
    return sum(blob.size for blob in missing.values())


def import_into(node: str, saved: Path, images: Sequence[Image]) -> int:
    """Stream what the node lacks into its containerd; returns the bytes of layers sent."""
    present = frozenset(line.removeprefix("sha256:") for line in ctr(node, "content", "ls", "-q").split())
    command = ["docker", "exec", "-i", node, "ctr", "-n", "k8s.io", "images", "import", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if process.stdin is None or process.stderr is None:
        raise LoadError("no pipe to docker exec")
    try:
        with process.stdin as stdin, tarfile.open(fileobj=stdin, mode="w|", bufsize=1 << 20) as target:
            sent = write_oci(target, saved, images, present)
    except BrokenPipeError:
        sent = 0
    complaint = process.stderr.read().decode()
    if process.wait(timeout=DEADLINE) != 0:
        raise LoadError(f"{node}: {complaint.strip()}")
    return sent


def load(names: Sequence[str], cluster: str, scratch: Path) -> None:
    """Bring the images to every node of the cluster. Raises LoadError."""
    nodes = run("docker", "ps", "--filter", f"label=io.x-k8s.kind.cluster={cluster}", "--format", "{{.Names}}").split()
    if not nodes:
        raise LoadError(f"the cluster {cluster} does not run: tests/cluster/up")
    ids = {name: run("docker", "image", "inspect", "-f", "{{.Id}}", name).strip() for name in names}
    wanted = {node: [n for n in names if lacks(node, full_reference(n), ids[n])] for node in nodes}
    to_save = [name for name in names if any(name in missing for missing in wanted.values())]
    if not to_save:
        say(f"{', '.join(names)}: on every node already")
        return
    size = sum(int(run("docker", "image", "inspect", "-f", "{{.Size}}", name)) for name in to_save)
    say(f"saving {', '.join(to_save)} ({size / 1e9:.1f} GB, about {size / 1e8 + 1:.0f} s)")
    with tempfile.TemporaryDirectory(dir=scratch, prefix="load.") as folder:
        saved = Path(folder) / "images.tar"
        run("docker", "save", "-o", str(saved), *to_save)
        with tarfile.open(saved) as archive:
            images = {image.reference: image for image in parse(archive)}

        def deliver(node: str) -> None:
            mine = [images[full_reference(name)] for name in wanted[node]]
            sent = import_into(node, saved, mine)
            for name, image in zip(wanted[node], mine, strict=True):
                ctr(node, "images", "label", image.reference, f"{LABEL}={mark(ids[name], sha256(image.manifest))}")
            say(f"{node}: {', '.join(wanted[node])}; {sent / 1e6:.0f} MB of layers were missing")

        needy = [node for node in nodes if wanted[node]]
        say(f"loading into {', '.join(needy)} (about {size / 5e7 * len(needy):.0f} s when nothing is there yet)")
        with ThreadPoolExecutor(len(needy)) as pool:
            list(pool.map(deliver, needy))


def say(text: str) -> None:
    """Progress, to standard error."""
    print(f"{time.strftime('%T')}  {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Arguments are names of images."""
    cache = os.environ.get("XDIT_CACHE") or f"{os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}/xdit-operator"
    try:
        load(sys.argv[1:], os.environ.get("XDIT_CLUSTER") or "xdit", Path(cache))
    except LoadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
