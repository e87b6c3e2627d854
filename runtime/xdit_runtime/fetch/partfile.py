"""The file that a download grows in; it survives a kill at any byte."""

import io
import os
from collections.abc import Callable
from pathlib import Path

from typing_extensions import Buffer


class PartFile(io.FileIO):
    """Unbuffered, positioned after the bytes that are there.

    Not in append mode: if two processes ever wrote it at once, both would write the same bytes to the same places.
    """

    def __init__(self, path: Path, moved: Callable[[int], None], checkpoint: Callable[[], None]) -> None:
        """`moved` is told the number of bytes after every change; `checkpoint` is called before each and may raise."""
        super().__init__(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
        self._moved = moved
        self._checkpoint = checkpoint
        self.start = self.seek(0, os.SEEK_END)

    def write(self, data: Buffer) -> int:
        """All of the data, or an OSError."""
        left = memoryview(data)
        length = len(left)
        while left:
            self._checkpoint()
            left = left[super().write(left) :]
            self._moved(self.tell())
        return length

    def truncate(self, size: int | None = None) -> int:
        """Cut here, when the hub starts a file from its beginning."""
        self._checkpoint()
        cut = super().truncate(size)
        self._moved(cut)
        return cut

    def close(self) -> None:
        """Wait until the bytes are on the volume."""
        if not self.closed:
            try:
                os.fsync(self.fileno())
            finally:
                super().close()
