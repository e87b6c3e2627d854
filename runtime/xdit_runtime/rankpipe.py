"""What ranks print, line by line, through one named pipe for each rank: nothing of it is kept in files that grow.

A pipe by name, because torchrun starts the ranks and hands on no open files of ours.
"""

import fcntl
import os
import selectors
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

_SIZE = 1 << 20
"""Bytes that a rank may be ahead of the reader."""
_CHUNK = 1 << 16
LONGEST = 16_384
"""Bytes of a line; longer ones are cut in pieces."""


def make(lane_dir: Path, ranks: Iterable[int]) -> dict[int, int]:
    """Create the pipes; rank → handle to read from, which never blocks and never ends."""
    handles = {}
    for rank in ranks:
        path = _path(lane_dir, rank)
        os.mkfifo(path, 0o600)
        # opened for both directions, so that it does not end between two writers
        handles[rank] = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # a node allows a user only so much in all pipes together; a small one works too
            fcntl.fcntl(handles[rank], fcntl.F_SETPIPE_SZ, _SIZE)
    return handles


def join(lane_dir: Path, rank: int) -> None:
    """Called by a rank: from here on its standard output and error go into its pipe. Without a pipe nothing changes."""
    path = _path(lane_dir, rank)
    if not path.exists():
        return
    handle = os.open(path, os.O_WRONLY)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def copy(pipes: dict[int, int], launcher: IO[bytes], say: Callable[[int | None, str], None]) -> None:
    """Hand on every line of ranks and launcher (rank None) until the launcher closes its side; closes the pipes."""
    lines: dict[int | None, _Lines] = {rank: _Lines() for rank in (*pipes, None)}
    with selectors.DefaultSelector() as selector:
        for rank, handle in pipes.items():
            selector.register(handle, selectors.EVENT_READ, rank)
        selector.register(launcher, selectors.EVENT_READ, None)
        ended = False
        while not ended:
            for key, _ in selector.select():
                ended |= _hand_on(key.fd, key.data, lines, say)
    for rank, handle in pipes.items():
        while not _hand_on(handle, rank, lines, say):
            pass
        os.close(handle)
    for who, buffer in lines.items():
        for line in buffer.rest():
            say(who, line)


def _hand_on(handle: int, rank: int | None, lines: dict[int | None, "_Lines"], say: Callable[[int | None, str], None]) -> bool:
    """True when there is nothing more to read."""
    try:
        data = os.read(handle, _CHUNK)
    except BlockingIOError:
        return True
    for line in lines[rank].add(data):
        say(rank, line)
    return not data


class _Lines:
    """Bytes to lines. A progress bar that overwrites its line counts as its last state."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, data: bytes) -> list[str]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LONGEST:
            whole.append(self._rest[:LONGEST])
            self._rest = self._rest[LONGEST:]
        return [_text(line[at : at + LONGEST]) for line in whole for at in range(0, len(line) or 1, LONGEST)]

    def rest(self) -> list[str]:
        return [_text(self._rest)] if self._rest else []


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")


def _path(lane_dir: Path, rank: int) -> Path:
    return lane_dir / f"out-{rank}"
