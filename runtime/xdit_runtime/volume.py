"""Writing to the output volume so that a reader never sees half a file, on local disks and on NFS alike.

Every function raises OutputVolumeError for what the volume refuses: no space, read-only, I/O errors, lost handles.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


class OutputVolumeError(Exception):
    """The output volume failed; says the path and the system's words. Never the fault of a prompt."""


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into OutputVolumeError."""
    try:
        yield
    except OSError as error:
        raise OutputVolumeError(f"{error.strerror or error} ({error.filename or path})") from error


def listing(folder: Path) -> list[str]:
    """Names in a directory. A Path for each of 100,000 would take ten times as long."""
    with guarded(folder):
        return os.listdir(folder)  # noqa: PTH208


def write_fsynced(path: Path, data: bytes) -> None:
    """Write a file that only this process knows of and wait until it is on the volume. A half file is removed."""
    with guarded(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            try:
                _write_all(handle, data)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError:
            with suppress(OSError):
                path.unlink()
            raise


def append_fsynced(handle: int, path: Path, data: bytes) -> None:
    """Append to a file of which this process is the only writer and wait until it is on the volume."""
    with guarded(path):
        _write_all(handle, data)
        os.fsync(handle)


def _write_all(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def fsync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the volume."""
    with guarded(path):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def publish(temporary: Path, final: Path) -> bool:
    """Give a whole file its final name unless that name is taken, and remove the temporary name.

    True when `final` is our file, False when somebody else's was there first.
    """
    return publish_all([(temporary, final)])[0]


def publish_all(files: Sequence[tuple[Path, Path]]) -> list[bool]:
    """`publish` for several (temporary, final): waits once for each directory. Final directories may be missing."""
    ours = [_link(temporary, final) for temporary, final in files]
    for folder in {final.parent for _, final in files}:
        fsync_directory(folder)
    for temporary, _ in files:
        with guarded(temporary):
            temporary.unlink()
    return ours


def _link(temporary: Path, final: Path) -> bool:
    with guarded(final):
        try:
            try:
                os.link(temporary, final)
            except FileNotFoundError:
                make_directory(final.parent)
                os.link(temporary, final)
        except FileExistsError:
            # NFS repeats a request whose answer got lost: the name may be taken by our own first try
            mine, there = temporary.stat(), final.stat()
            return mine.st_nlink > 1 and (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
    return True


def make_directory(path: Path) -> None:
    """Create a directory whose parent exists and wait until its name is on the volume."""
    with guarded(path):
        path.mkdir(exist_ok=True)
    fsync_directory(path.parent)


def create_once(final: Path, data: bytes, temporary: Path) -> bool:
    """Create a whole file unless it exists; True when it is ours."""
    write_fsynced(temporary, data)
    return publish(temporary, final)


def create_exclusive(path: Path, data: bytes) -> bool:
    """Create a small file unless it exists; True for exactly one of any number of callers. Its directory may be missing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with guarded(path):
        try:
            try:
                handle = os.open(path, flags, 0o666)
            except FileNotFoundError:
                path.parent.mkdir(exist_ok=True)
                handle = os.open(path, flags, 0o666)
        except FileExistsError:
            return False
        try:
            _write_all(handle, data)
        finally:
            os.close(handle)
    return True


def replace(path: Path, data: bytes, temporary: Path) -> None:
    """Replace a derived file in one step. Not fsynced: it can be made again. Its directory may be missing."""
    with guarded(path):
        temporary.write_bytes(data)
        try:
            temporary.replace(path)
        except FileNotFoundError:
            path.parent.mkdir(exist_ok=True)
            temporary.replace(path)
