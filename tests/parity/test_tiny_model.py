import hashlib
import subprocess
import sys
from pathlib import Path

import pytest


def write(directory: Path, *options: str) -> dict[str, str]:
    """Relative path → sha256 of every file."""
    command = [sys.executable, "-m", "xdit_runtime.tiny_model", str(directory), *options]
    subprocess.run(command, check=True, timeout=120, capture_output=True, umask=0o077)
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    directory = tmp_path_factory.mktemp("models") / "tiny"
    return directory, write(directory)


def test_the_same_seed_gives_the_same_files(model: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    assert write(tmp_path / "again") == model[1]
    other = write(tmp_path / "other", "--seed", "9")
    assert other.keys() == model[1].keys()
    changed = {name for name in other if other[name] != model[1][name]}
    assert changed == {name for name in other if name.endswith(".safetensors")}


def test_everyone_can_read_it_and_nothing_is_a_pickle(model: tuple[Path, dict[str, str]]) -> None:
    directory, files = model
    assert {Path(name).suffix for name in files} == {".json", ".safetensors"}
    assert sum((directory / name).stat().st_size for name in files) < 5_000_000
    for path in (directory, *directory.rglob("*")):
        wanted = 0o555 if path.is_dir() else 0o444
        assert path.stat().st_mode & wanted == wanted, path
