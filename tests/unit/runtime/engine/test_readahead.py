import os
from pathlib import Path

import pytest

from xdit_runtime.engine import readahead


@pytest.mark.parametrize("shares", [1, 2, 3, 7])
def test_shares_cover_every_byte_once(shares: int) -> None:
    piece = readahead._PIECE
    sizes = [(Path("a"), 5 * piece + 1), (Path("b"), 0), (Path("c"), 1), (Path("d"), 2 * piece)]
    found = [place for share in range(shares) for place in readahead.pieces(sizes, share, shares)]
    assert len(found) == len(set(found))
    assert sorted(found) == sorted((path, n * piece) for path, size in sizes for n in range(-(-size // piece)))


def test_it_reads_the_weights_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("transformer/a.safetensors", "vae/b.safetensors", "transformer/config.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    seen: list[bytes] = []
    read = os.pread

    def spy(file: int, size: int, offset: int) -> bytes:
        seen.append(read(file, size, offset))
        return seen[-1]

    monkeypatch.setattr(os, "pread", spy)
    with readahead.reading(tmp_path, 0, 1):
        pass  # what was begun is finished before the end
    assert set(seen) <= {b"transformer/a.safetensors", b"vae/b.safetensors"}


def test_a_file_that_cannot_be_read_is_left_to_the_loading(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "b.safetensors").symlink_to(tmp_path / "vae")
    with readahead.reading(tmp_path, 0, 1):
        pass
