"""A cgroup with a memory limit, for a process of a test; needs root, as the tests have."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OLD = Path("/sys/fs/cgroup/memory")
_NEW = Path("/sys/fs/cgroup")


@contextmanager
def limited(name: str, limit: int) -> Iterator[Path]:
    """A cgroup below the root one, of either version; `cgroup.procs` in it takes pids. limit: bytes."""
    old = _OLD.is_dir()
    folder = (_OLD if old else _NEW) / name
    if not old:
        subprocess.run(["sh", "-c", f"echo +memory > {_NEW}/cgroup.subtree_control"], check=True)
    folder.mkdir()
    try:
        (folder / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(limit))
        yield folder
    finally:
        folder.rmdir()
