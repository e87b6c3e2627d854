"""Lives of a container in its pod: only the first one works, and its result is never overwritten."""

from pathlib import Path

from xdit_api.report import Result
from xdit_runtime.volume import create_exclusive, write_fsynced


def begin(life_dir: Path) -> bool:
    """Leave the marker; True in the first life only. Raises OutputVolumeError."""
    life_dir.mkdir(parents=True, exist_ok=True)
    return create_exclusive(life_dir / "started", b"")


def store(life_dir: Path, result: Result) -> None:
    """Keep the result for later lives."""
    temporary = life_dir / ".result.json"
    write_fsynced(temporary, result.encode().encode())
    temporary.replace(life_dir / "result.json")


def stored(life_dir: Path) -> Result | None:
    """The first life's result; None when it was killed before it had one."""
    try:
        return Result.decode((life_dir / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
