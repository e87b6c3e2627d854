"""Memory of the container under both versions of cgroups, inside and outside of a container."""

from pathlib import Path

from xdit_api.report import HostMemory
from xdit_runtime import cgroup


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_version_2(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/pod/7\n")
    root = tmp_path / "fs"
    events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n"
    write(root, memory__current=10, memory__peak=20, memory__max="max", memory__events=events)
    assert cgroup.memory(root, own) == HostMemory(current=10, peak=20)
    assert cgroup.oom_kills(root, own) == 2
    write(root / "pod/7", memory__current=1, memory__max=99)
    assert cgroup.memory(root, own) == HostMemory(current=1, limit=99)
    assert cgroup.oom_kills(root, own) == 0


def test_version_1(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("9:name=systemd:/\n4:cpu,memory:/api/8a\n0::/\n")
    root = tmp_path / "fs"
    files = {"memory__usage_in_bytes": 5, "memory__max_usage_in_bytes": 6, "memory__limit_in_bytes": 9223372036854771712}
    write(root / "memory", **files, memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 4")
    assert cgroup.memory(root, own) == HostMemory(current=5, peak=6)
    assert cgroup.oom_kills(root, own) == 4


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    assert cgroup.memory(tmp_path, tmp_path / "none") == HostMemory()
    assert cgroup.oom_kills(tmp_path, tmp_path / "none") == 0
