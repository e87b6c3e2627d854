"""The note that a complete model directory carries: what it is and what must be in it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = ".xdit-fetch.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One verified file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A complete model."""

    repo: str
    revision: str
    include: tuple[str, ...]
    files: dict[str, Entry]
    """By path."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files.values())

    def encode(self) -> bytes:
        """JSON, for people too."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()


def read(directory: Path) -> Manifest | None:
    """The manifest of a directory; None when it has none that can be read. Raises OSError for a volume that fails."""
    try:
        found = json.loads((directory / NAME).read_bytes())
        return Manifest(
            repo=str(found["repo"]),
            revision=str(found["revision"]),
            include=tuple(found["include"]),
            files={str(path): Entry(int(entry["size"]), str(entry["sha256"])) for path, entry in found["files"].items()},
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def intact(directory: Path, manifest: Manifest) -> dict[str, Entry]:
    """The files of the manifest that are there with their size."""
    found = {}
    for path, entry in manifest.files.items():
        try:
            if (directory / path).stat().st_size == entry.size:
                found[path] = entry
        except (FileNotFoundError, NotADirectoryError):
            continue
    return found
