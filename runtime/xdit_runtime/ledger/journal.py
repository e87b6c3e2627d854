"""Journals: what each incarnation of a lane did, one line an image, each written by one process only."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from xdit_api.base import Json
from xdit_runtime.volume import append_fsynced, fsync_directory, guarded


class Journal:
    """The journal of this incarnation; the file appears with its first line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def append(self, record: Json) -> None:
        """Add a line and wait until it is on the volume. Raises OutputVolumeError."""
        if self._handle is None:
            with guarded(self._path):
                self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
            fsync_directory(self._path.parent)
        append_fsynced(self._handle, self._path, json.dumps(record).encode() + b"\n")

    def close(self) -> None:
        """Close it. Raises OutputVolumeError: some systems report lost writes only here."""
        if self._handle is not None:
            with guarded(self._path):
                os.close(self._handle)
            self._handle = None


class JournalReader:
    """All journals of a directory; each call yields what was added since the last one."""

    def __init__(self, journals: Path) -> None:
        self._journals = journals
        self._offsets: dict[str, int] = {}

    def read(self) -> Iterator[Json]:
        """New whole lines. A line that a crash cut off is passed over for as long as it has no end."""
        with guarded(self._journals):
            paths = sorted(self._journals.glob("*.jsonl"))
        for path in paths:
            with guarded(path), path.open("rb") as file:
                file.seek(self._offsets.get(path.name, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path.name] = self._offsets.get(path.name, 0) + len(whole)
            for line in whole.splitlines():
                yield json.loads(line)
