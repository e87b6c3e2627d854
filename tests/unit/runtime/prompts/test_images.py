"""Input images: found below the volume, or refused in words that name them."""

import hashlib
import os
from pathlib import Path

import pytest

from tests.unit.runtime.jobs import make_job
from xdit_api.prompts import Problem, Prompt
from xdit_runtime.prompts import PromptFileError, read_source

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
JPEG = b"\xff\xd8\xff\xe0" + b"pixels"
WEBP = b"RIFF\x20\0\0\0WEBPVP8 "


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume with prompts in one directory and images in others; a secret beside it."""
    root = tmp_path / "volume"
    (root / "posters/in").mkdir(parents=True)
    (root / "shared").mkdir()
    (tmp_path / "secret").mkdir()
    for path, data in {
        "volume/posters/in/a.png": PNG, "volume/posters/b.JPEG": JPEG, "volume/shared/c": WEBP, "volume/posters/text.png": b"hello",
        "volume/posters/empty.png": b"", "secret/key.png": PNG,
    }.items():  # fmt: skip
        (tmp_path / path).write_bytes(data)
    (root / "posters/link.png").symlink_to("../shared/c")
    (root / "posters/out.png").symlink_to(tmp_path / "secret/key.png")
    (root / "posters/way").symlink_to(tmp_path / "secret")
    (root / "posters/loop.png").symlink_to("loop.png")
    os.mkfifo(root / "posters/pipe.png")
    with (root / "posters/huge.png").open("wb") as huge:
        huge.write(PNG)
        huge.truncate(65 * 2**20)
    return root


def look(volume: Path, *images: str, root: bool = True) -> Prompt | Problem:
    record = {"id": "p", "prompt": "x", "image": list(images)}
    job = make_job(volume / "posters", [record], prompts={"root": str(volume)} if root else {})
    (only,) = read_source(job)
    return only


def test_images_are_found_and_known_by_their_content(volume: Path) -> None:
    found = look(volume, "in/a.png", "b.JPEG", "../shared/c", "link.png")
    assert isinstance(found, Prompt)
    assert found.inputs == tuple(str(volume / p) for p in ("posters/in/a.png", "posters/b.JPEG", "shared/c", "shared/c"))
    assert found.digests == tuple(hashlib.sha256(data).hexdigest() for data in (PNG, JPEG, WEBP, WEBP))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("../../secret/key.png", "is outside of {volume}"),
        ("out.png", "is outside of {volume}"),
        ("way/key.png", "is outside of {volume}"),
        ("../../volume-2/a.png", "does not exist below {volume}/posters"),
        ("no.png", "does not exist below {volume}/posters"),
        ("in/a.png/b", "does not exist below {volume}/posters"),
        ("x" * 300, "cannot be read: File name too long"),
        ("loop.png", "cannot be read: Too many levels of symbolic links"),
        ("in", "is no file"),
        ("pipe.png", "is no file"),
        ("text.png", "is no PNG, JPEG or WebP image"),
        ("empty.png", "is no PNG, JPEG or WebP image"),
        ("huge.png", "has 65 MiB, more than 64"),
    ],
)
def test_what_is_no_image_of_the_volume_is_refused(volume: Path, image: str, says: str) -> None:
    found = look(volume, "in/a.png", image)
    assert isinstance(found, Problem)
    assert (found.line, found.text.partition(" ")[0]) == (1, "image")
    assert found.text.endswith(says.format(volume=volume))


def test_a_volume_that_fails_is_not_the_fault_of_a_line(volume: Path) -> None:
    # a regular file whose first byte the kernel refuses to read
    (volume / "posters/mem.png").symlink_to("/proc/self/mem")
    job = make_job(volume / "posters", [{"prompt": "x", "image": "mem.png"}], prompts={"root": "/"})
    with pytest.raises(PromptFileError) as caught:
        list(read_source(job))
    assert str(caught.value) == f"{volume}/posters/mem.png: cannot read the input image: Input/output error"


def test_without_a_root_images_stay_below_the_prompt_file(volume: Path) -> None:
    assert isinstance(look(volume, "in/a.png", root=False), Prompt)
    assert str(look(volume, "../shared/c", root=False)) == f'line 1: image "../shared/c" is outside of {volume}/posters'


def test_a_directory_whose_name_only_begins_alike_is_outside(volume: Path) -> None:
    beside = volume.parent / "volume-2"
    beside.mkdir()
    (beside / "a.png").write_bytes(PNG)
    assert str(look(volume, "../../volume-2/a.png")).endswith(f"is outside of {volume}")
