"""Input images from users: every way in which a file can be wrong is a sentence about that file."""

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from xdit_runtime.engine import inputs
from xdit_runtime.engine.base import PromptError


def saved(path: Path, image: Image.Image, **how: Any) -> str:
    image.save(path, **how)
    return str(path)


def png_of_size(path: Path, width: int, height: int) -> str:
    """A PNG that says it is that large, and has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return str(path)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.webp", "WEBP"), ("no-ending", "PNG")])
def test_formats(tmp_path: Path, name: str, kind: str) -> None:
    made = inputs.read(saved(tmp_path / name, Image.new("RGB", (32, 24), "red"), format=kind))
    assert (made.mode, made.size) == ("RGB", (32, 24))
    pixel = made.getpixel((5, 5))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 240 > 20 > pixel[1]


def test_a_photo_is_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "blue")
    exif = image.getexif()
    exif[0x0112] = 6  # turned to the right
    assert inputs.read(saved(tmp_path / "a.jpg", image, exif=exif)).size == (20, 40)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    assert inputs.read(saved(tmp_path / "a.png", Image.new(mode, (20, 20)))).mode == "RGB"


def test_transparent_is_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGBA", (20, 20), (255, 0, 0, 0)))
    assert inputs.read(path).getpixel((3, 3)) == (255, 255, 255)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGB", (20, 20), "red"))
    assert inputs.read(path) is inputs.read(path)
    saved(tmp_path / "a.png", Image.new("RGB", (22, 22), "red"))
    assert inputs.read(path).size == (22, 22)


def test_bad_files(tmp_path: Path) -> None:
    text = tmp_path / "a.png"
    text.write_text("not a picture")
    gif = saved(tmp_path / "a.gif", Image.new("RGB", (20, 20)))
    whole = Path(saved(tmp_path / "whole.png", Image.effect_noise((64, 64), 50)))
    torn = tmp_path / "torn.png"
    torn.write_bytes(whole.read_bytes()[:-900])
    cases = {
        str(tmp_path / "none.png"): "cannot be read: No such file",
        str(tmp_path): "cannot be read",
        str(text): "is not a PNG, JPEG or WEBP file",
        gif: "is not a PNG, JPEG or WEBP file",
        str(torn): "cannot be read",
        png_of_size(tmp_path / "bomb.png", 60_000, 60_000): "too many pixels; at most 64 million",
        png_of_size(tmp_path / "large.png", 12_000, 12_000): "is 12000x12000; at most 64 million",
        saved(tmp_path / "thin.png", Image.new("RGB", (8, 64))): "is 8x64; both sides must have at least 16",
    }
    for path, wanted in cases.items():
        with pytest.raises(PromptError) as raised:
            inputs.read(path)
        assert path in str(raised.value)
        assert wanted in str(raised.value), str(raised.value)


def test_a_large_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(inputs.BYTES + 1)
    with pytest.raises(PromptError, match="at most 256 MiB"):
        inputs.read(str(path))


def test_fitted_covers_the_size() -> None:
    image = Image.new("RGB", (400, 100), "red")
    image.paste("blue", (150, 0, 250, 100))
    made = inputs.fitted(image, 64, 64)
    assert made.size == (64, 64)
    assert {made.getpixel((x, 32)) for x in (4, 32, 60)} == {(0, 0, 255)}


def test_an_image_that_changed_since_the_job_began_is_noticed(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "a.png", Image.new("RGB", (32, 24), "red")))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    inputs.same(str(path), digest)
    saved(path, Image.new("RGB", (33, 24), "blue"))
    with pytest.raises(PromptError, match=r"a\.png has changed since the job began"):
        inputs.same(str(path), digest)
    path.unlink()
    with pytest.raises(PromptError, match=r"a\.png cannot be read"):
        inputs.same(str(path), digest)
