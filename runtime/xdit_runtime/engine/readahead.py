"""Weights into the page cache, by all ranks together and at the disk's speed.

Loading itself maps the files and touches them page by page, one thread a rank: 0.6 GB/s from a disk that gives 3. Here each
rank reads its share in large pieces beforehand, so that all ranks find everything in memory.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_PIECE = 64 * 2**20
"""Bytes read at a time."""
_THREADS = 4


def pieces(sizes: Sequence[tuple[Path, int]], share: int, shares: int) -> list[tuple[Path, int]]:
    """(file, offset) of every piece of a share, in the order of the files. sizes: (file, bytes). share: from 0."""
    every = [(path, offset) for path, size in sizes for offset in range(0, size, _PIECE)]
    return every[share::shares]


@contextmanager
def reading(model: Path, share: int, shares: int) -> Iterator[None]:
    """Read a share of the weights of a diffusers directory beside what happens inside; stops with it."""
    files = sorted(model.glob("*/*.safetensors"))
    todo = pieces([(path, path.stat().st_size) for path in files], share, shares)
    over = threading.Event()

    def read(piece: tuple[Path, int]) -> None:
        path, offset = piece
        if over.is_set():
            return
        with path.open("rb", buffering=0) as file:
            os.pread(file.fileno(), _PIECE, offset)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="readahead") as pool:
        # errors are left to the loading itself, which reads the same bytes and can say what it is about
        pool.map(read, todo)
        try:
            yield
        finally:
            over.set()
