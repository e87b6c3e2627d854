"""The pod's log: everything goes to standard output and to a file on the output volume, where it survives the pod."""

import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

LIMIT = 10 * 2**20
"""Bytes that a pod's log may take on the volume: half for the newest lines, half for those before."""


class Log:
    """Lines of the supervisor and of all ranks. Safe to use from several threads."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._lock = threading.Lock()
        self._half = limit // 2
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._size = 0
        self._early: list[bytes] = []
        self._broken = False

    def attach(self, path: Path) -> None:
        """Write to that file too, from the first line on."""
        with self._lock:
            self._path = path
            early, self._early = self._early, []
            for line in early:
                self._to_file(line)

    def say(self, text: str, who: str = "supervisor") -> None:
        """One or more lines."""
        with self._lock:
            for line in text.splitlines() or [""]:
                out = f"[{who}] {line}" if who else line
                sys.stdout.write(f"{out}\n")
                stamp = datetime.now(UTC).strftime("%H:%M:%S")
                self._to_file(f"{stamp} {out}\n".encode(errors="replace"))
            sys.stdout.flush()

    def _to_file(self, line: bytes) -> None:
        if self._path is None:
            if not self._broken:
                self._early.append(line)
            return
        try:
            if self._file is not None and self._size + len(line) > self._half:
                self._file.close()
                self._file = None
                self._path.replace(self._path.with_suffix(".1.log"))
            if self._file is None:
                self._file = self._path.open("ab", buffering=0)
                self._size = self._file.tell()
            self._file.write(line)
            self._size += len(line)
        except OSError as error:
            # a full volume ends the job through the ledger; the log must not hide that by failing first
            sys.stdout.write(f"[supervisor] the log on the volume stops here: {error}\n")
            self._path, self._file, self._broken = None, None, True
