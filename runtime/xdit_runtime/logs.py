"""The pod's log: everything goes to standard output and to a file on the output volume, where it survives the pod."""

import json
import re
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

LIMIT = 10 * 2**20
"""Bytes that a pod's log may take on the volume: half for the newest lines, half for those before."""
_WAITING = 20_000
"""Lines that may wait for a volume that is slow; later ones are counted and left out of the file."""
_CLOSE_SECONDS = 5.0

Level = Literal["info", "warning", "error"]
Style = Literal["text", "json"]
_LEVELS = re.compile(r"(?P<word>\b(?:WARNING|WARN|ERROR|CRITICAL|FATAL)\b)|^\[?(?P<letter>[WEF])\d{4} ")
"""How Python's logging and glog (torch, NCCL) begin a line that matters."""


@dataclass(frozen=True, slots=True)
class Source:
    """Who says a line."""

    lane: int | None = None
    rank: int | None = None
    several: bool = False
    """Whether the pod has more than one lane."""

    @property
    def label(self) -> str:
        """What text lines begin with."""
        if self.lane is None:
            return "[supervisor] "
        lane = f"[lane {self.lane}] " if self.several else ""
        return lane + ("[torchrun] " if self.rank is None else f"[rank{self.rank}]:")

    @property
    def name(self) -> str:
        """Of the kind of process."""
        return "supervisor" if self.lane is None else "torchrun" if self.rank is None else "rank"


SUPERVISOR = Source()


def level_of(line: str) -> Level:
    """What a line of somebody else's logging says of itself."""
    found = _LEVELS.search(line[:80])
    if found is None:
        return "error" if line.startswith("Traceback (most recent call last)") else "info"
    return "warning" if (found["letter"] or found["word"])[0] == "W" else "error"


def encode(style: Style, when: datetime, level: Level, source: Source, text: str) -> str:
    """One line of the log. A line that is a JSON object already keeps its fields in a JSON log."""
    if style == "text":
        mark = "" if level == "info" else f"{level.upper()} "
        return f"{when:%H:%M:%S} {mark}{source.label}{text}"
    head: dict[str, object] = {"time": when.isoformat(timespec="milliseconds"), "level": level, "source": source.name}
    head |= {name: value for name, value in (("lane", source.lane), ("rank", source.rank)) if value is not None}
    return json.dumps({**(_object(text) or {"message": text}), **head}, ensure_ascii=False)


def _object(text: str) -> dict[str, object] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class Log:
    """Lines of the supervisor and of all ranks. Safe to use from several threads; never waits for the volume."""

    def __init__(self, limit: int = LIMIT, style: Style = "text") -> None:
        self._lock = threading.Condition()
        self._limit = limit
        self._style: Style = style
        self._waiting: deque[bytes] = deque()
        self._left_out = 0
        self._writing = False
        self._wanted = True

    def attach(self, path: Path) -> None:
        """Write to that file too, from the first line on."""
        with self._lock:
            self._writing = True
        threading.Thread(target=self._write, args=(_File(path, self._limit // 2),), name="log", daemon=True).start()

    def say(self, text: str, source: Source = SUPERVISOR, level: Level = "info") -> None:
        """One or more lines."""
        with self._lock:
            for line in text.splitlines() or [""]:
                out = encode(self._style, datetime.now(UTC), level, source, line)
                sys.stdout.write(f"{out}\n")
                self._put(out)
            sys.stdout.flush()
            self._lock.notify_all()

    def warn(self, text: str) -> None:
        """One or more lines of the supervisor that somebody should read."""
        self.say(text, level="warning")

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Wait until the file has every line, as long as the volume can be expected to answer."""
        deadline = time.monotonic() + seconds
        with self._lock:
            while self._writing and self._wanted and self._waiting and (left := deadline - time.monotonic()) > 0:
                self._lock.wait(left)

    def _put(self, line: str) -> None:
        if not self._wanted:
            return
        if len(self._waiting) >= _WAITING:
            self._left_out += 1
            return
        if self._left_out:
            self._waiting.append(f"... {self._left_out} lines are missing here: the volume was too slow\n".encode())
            self._left_out = 0
        self._waiting.append(f"{line}\n".encode(errors="replace"))

    def _write(self, file: "_File") -> None:
        while True:
            with self._lock:
                while not self._waiting:
                    self._lock.wait()
                lines = list(self._waiting)
            try:
                for line in lines:
                    file.write(line)
            except OSError as error:
                # a full volume ends the job through the ledger; the log must not hide that by failing first
                with self._lock:
                    self._wanted = False
                    self._waiting.clear()
                self.warn(f"the log on the volume stops here: {error}")
                return
            finally:
                with self._lock:
                    for _ in range(min(len(lines), len(self._waiting))):
                        self._waiting.popleft()
                    self._lock.notify_all()


class _File:
    """A file and the one before it, each of at most `half` bytes."""

    def __init__(self, path: Path, half: int) -> None:
        self._path = path
        self._half = half
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, line: bytes) -> None:
        if self._file is not None and self._size + len(line) > self._half:
            self._file.close()
            self._file = None
            self._path.replace(self._path.with_suffix(".1.log"))
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)
            self._size = self._file.tell()
        self._file.write(line)
        self._size += len(line)
