"""Input images of prompts: where they may be and what they must be."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from xdit_api.prompts import Problem, Prompt, shown

MAX_BYTES = 64 * 2**20
"""Of one input image."""
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_USERS_FAULT = (errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG, errno.EPERM, errno.EINVAL)
_KEPT = 4096


class Found(NamedTuple):
    """A good input image."""

    path: str
    """Absolute, without symbolic links."""
    digest: str
    """sha256 of the content."""


class Images:
    """Images of one prompt file. Remembers the last ones: many prompts may use the same picture."""

    def __init__(self, folder: Path, root: Path) -> None:
        """folder: of the prompt file; root: what no path may leave."""
        self._folder = folder
        self._root = os.path.realpath(root)
        self._look: Callable[[str], Found | str] = lru_cache(_KEPT)(self._look_at)

    def checked(self, prompt: Prompt) -> Prompt | Problem:
        """The prompt with absolute paths and digests. Raises OSError when the volume fails."""
        found: list[Found] = []
        for name in prompt.inputs:
            image = self._look(name)
            if isinstance(image, str):
                return Problem(prompt.line, f"image {shown(name)} {image}")
            found.append(image)
        return replace(prompt, inputs=tuple(i.path for i in found), digests=tuple(i.digest for i in found))

    def _look_at(self, name: str) -> Found | str:
        try:
            path = os.path.realpath(self._folder / name, strict=True)
            if os.path.commonpath([self._root, path]) != self._root:
                return f"is outside of {self._root}"
            return _read(path)
        except OSError as error:
            if error.errno in _ABSENT:
                return f"does not exist below {self._folder}"
            if error.errno in _USERS_FAULT:
                return f"cannot be read: {error.strerror}"
            raise OSError(error.errno, error.strerror, str(self._folder / name)) from error


def _read(path: str) -> Found | str:
    # not blocking: a named pipe would wait for its writer for ever
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return "is no file"
        if status.st_size > MAX_BYTES:
            return f"has {status.st_size >> 20} MiB, more than {MAX_BYTES >> 20}"
        if not _is_image(os.pread(handle, 12, 0)):
            return "is no PNG, JPEG or WebP image"
        with os.fdopen(handle, "rb", closefd=False) as file:
            return Found(path, hashlib.file_digest(file, "sha256").hexdigest())
    finally:
        os.close(handle)


def _is_image(head: bytes) -> bool:
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
