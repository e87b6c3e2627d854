"""Memory of this container as its cgroup counts it, version 1 and 2."""

from contextlib import suppress
from pathlib import Path

from xdit_api.report import HostMemory

ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60


def memory(root: Path = ROOT, own: Path = Path("/proc/self/cgroup")) -> HostMemory:
    """Bytes in use now, at most so far, and allowed."""
    folder, modern = _folder(root, own)
    names = (
        ("memory.current", "memory.peak", "memory.max")
        if modern
        else ("memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.limit_in_bytes")
    )
    current, peak, limit = (_number(folder / name) for name in names)
    return HostMemory(current=current, peak=peak, limit=None if limit is None or limit >= _UNLIMITED else limit)


def oom_kills(root: Path = ROOT, own: Path = Path("/proc/self/cgroup")) -> int:
    """Processes of this container that the kernel killed for want of memory."""
    folder, modern = _folder(root, own)
    with suppress(OSError):
        for line in (folder / ("memory.events" if modern else "memory.oom_control")).read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def _folder(root: Path, own: Path) -> tuple[Path, bool]:
    """The cgroup's directory, and whether it is of version 2.

    A container sees its own cgroup at the root of the mount, whatever /proc says of the path; other processes do not.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        lines = []
    paths = {kinds: path.lstrip("/") for _, kinds, path in lines}
    old = next((path for kinds, path in paths.items() if "memory" in kinds.split(",")), None)
    base, path = (root, paths.get("", "")) if old is None else (root / "memory", old)
    return (base / path if (base / path).is_dir() else base), old is None


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
