"""Input images: read with care, for they come from users, and kept for the next picture that needs them."""

import hashlib
import warnings
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from xdit_runtime.engine.base import PromptError

FORMATS = ("PNG", "JPEG", "WEBP")
PIXELS = 64 * 1024 * 1024
"""The largest image, 192 MiB in memory."""
BYTES = 256 * 1024 * 1024
"""The largest file."""
_SIDE = 16
"""The smallest side."""
_KEPT = 4


def read(path: str) -> Image.Image:
    """The image, upright and in RGB, on white where it is transparent. Raises PromptError, with what is wrong with the file."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise PromptError(f"image {path} cannot be read: {error.strerror}") from error
    return _read(path, status.st_mtime_ns, status.st_size)


def same(path: str, digest: str) -> None:
    """Raise PromptError when the file is no longer the one with that sha256: the picture's key was made with it."""
    try:
        status = Path(path).stat()
        found = _digest(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise PromptError(f"image {path} cannot be read: {error.strerror}") from error
    if found != digest:
        raise PromptError(f"image {path} has changed since the job began: put the old one back, or start a new job with new ids")


@lru_cache(maxsize=256)
def _digest(path: str, _changed: int, _size: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=_KEPT)
def _read(path: str, _changed: int, size: int) -> Image.Image:
    if size > BYTES:
        raise PromptError(f"image {path} is {size / 2**20:.0f} MiB; at most {BYTES // 2**20} MiB are read")
    try:
        with warnings.catch_warnings():
            # Pillow warns of many pixels and fails at twice as many; the size is checked below, before any is decoded
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as opened:
                _check(path, opened.width, opened.height)
                return _upright(opened)
    except UnidentifiedImageError as error:
        raise PromptError(f"image {path} is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file") from error
    except Image.DecompressionBombError as error:
        raise PromptError(f"image {path} has too many pixels; at most {PIXELS // 2**20} million are read") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, PromptError):
            raise
        raise PromptError(f"image {path} cannot be read: {error}") from error


def _check(path: str, width: int, height: int) -> None:
    if width * height > PIXELS:
        raise PromptError(f"image {path} is {width}x{height}; at most {PIXELS // 2**20} million pixels are read")
    if min(width, height) < _SIDE:
        raise PromptError(f"image {path} is {width}x{height}; both sides must have at least {_SIDE} pixels")


def _upright(opened: Image.Image) -> Image.Image:
    turned = ImageOps.exif_transpose(opened)
    if "transparency" in turned.info or turned.mode in ("RGBA", "LA", "PA"):
        layer = turned.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return turned.convert("RGB")


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """The image at that size: made just large enough to cover it, and cut to it around the middle."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
