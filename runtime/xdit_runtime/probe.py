"""Whether the output directory can be used, found out by doing what the ledger will do."""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from xdit_api.report import Exit
from xdit_runtime.ending import RefusedError
from xdit_runtime.ledger.temporary import scratch
from xdit_runtime.paths import Layout

_TRANSIENT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
"""The volume is full or ill: worth another try. Everything else is a matter of rights or of the file system."""


def probe(layout: Layout) -> None:
    """Create the directories and try every call that the ledger needs. Raises RefusedError."""
    _try(layout, "mkdir", layout.make)
    first, second = scratch(layout), scratch(layout)
    try:
        _try(layout, "open with O_EXCL", lambda: _exclusive(first))
        _try(layout, "link", lambda: _link(first, second))
        _try(layout, "rename", lambda: first.replace(second))
    finally:
        for path in (first, second):
            with suppress(OSError):
                path.unlink()


def _try(layout: Layout, call: str, action: Callable[[], object]) -> None:
    try:
        action()
    except OSError as error:
        text = f"output directory {layout.root}: {call} failed: {error.strerror} ({error.filename})"
        if error.errno in _TRANSIENT:
            raise RefusedError(Exit.OUTPUT_VOLUME, text) from error
        raise RefusedError(Exit.OUTPUT_NOT_WRITABLE, f"{text}. {_who(layout.root)}") from error


def _exclusive(path: Path) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    try:
        os.write(handle, b"x")
        os.fsync(handle)
    finally:
        os.close(handle)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        raise OSError(errno.ENOTSUP, "O_EXCL opened a file that exists", str(path))


def _link(source: Path, target: Path) -> None:
    os.link(source, target)
    with suppress(FileExistsError):
        os.link(source, target)
        raise OSError(errno.ENOTSUP, "link replaced a file that exists", str(target))


def _who(path: Path) -> str:
    groups = ",".join(str(g) for g in sorted({os.getgid(), *os.getgroups()}))
    path = next(p for p in (path, *path.parents) if os.access(p, os.F_OK))
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    return (
        f"This process is uid {os.getuid()}, gids {groups}; {path} is owned by {found.st_uid}:{found.st_gid}, mode {mode:04o}. "
        "Set worker.securityContext so that they match."
    )
