"""Whether the bytes on the volume are those that the hub has."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from xdit_runtime.fetch.choose import RepoFile

_CHUNK = 4 * 2**20


def digest(path: Path, file: RepoFile, checkpoint: Callable[[], None]) -> str | None:
    """The sha256 of a file that is the hub's, None when it is not. `checkpoint` is called every 4 MiB and may raise."""
    if path.stat().st_size != file.size:
        return None
    sha256 = hashlib.sha256()
    # git names small files by the sha1 of a header and the content
    git = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb", buffering=0) as content:
        while chunk := content.read(_CHUNK):
            checkpoint()
            sha256.update(chunk)
            if file.sha256 is None:
                git.update(chunk)
    matches = git.hexdigest() == file.blob if file.sha256 is None else sha256.hexdigest() == file.sha256
    return sha256.hexdigest() if matches else None
