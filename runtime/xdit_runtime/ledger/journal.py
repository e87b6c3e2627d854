"""Journals: what each incarnation of a lane did, one line an image, each written by one process only."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xdit_api.base import Json
from xdit_runtime.volume import append_fsynced, fsync_directory, guarded


def encode(record: Json) -> bytes:
    """A line. A character that is not Unicode stays the escape that the user wrote."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


class Journal:
    """The journal of this incarnation; the file appears with its first line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def append(self, records: Sequence[Json]) -> None:
        """Add lines and wait until they are on the volume. Raises OutputVolumeError."""
        if self._handle is None:
            with guarded(self._path):
                self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
            fsync_directory(self._path.parent)
        append_fsynced(self._handle, self._path, b"".join(encode(record) for record in records))

    def close(self) -> None:
        """Close it. Raises OutputVolumeError: some systems report lost writes only here."""
        if self._handle is not None:
            with guarded(self._path):
                os.close(self._handle)
            self._handle = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line of a journal is."""

    journal: str
    offset: int
    length: int
    """Bytes with the newline."""


class JournalReader:
    """All journals of a directory; each call yields what was added since the last one."""

    def __init__(self, journals: Path) -> None:
        self._journals = journals
        self._offsets: dict[str, int] = {}

    def read(self) -> Iterator[Json]:
        """New whole lines. A line that a crash cut off is passed over for as long as it has no end."""
        for _, line in self.places():
            yield line

    def places(self) -> Iterator[tuple[Place, Json]]:
        """The same with the place of each. Raises OutputVolumeError."""
        with guarded(self._journals):
            sizes = {path.name: path.stat().st_size for path in sorted(self._journals.glob("*.jsonl"))}
        for name, size in sizes.items():
            if size > self._offsets.get(name, 0):
                yield from self._new(name)

    def _new(self, name: str) -> Iterator[tuple[Place, Json]]:
        path = self._journals / name
        with guarded(path), path.open("rb") as file:
            offset = file.seek(self._offsets.get(name, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    return
                place = Place(name, offset, len(line))
                offset += len(line)
                self._offsets[name] = offset
                record = _decode(line)
                if record is not None:
                    yield place, record


def _decode(line: bytes) -> Json | None:
    """None for what a volume made of a line that it lost: the image itself knows."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
