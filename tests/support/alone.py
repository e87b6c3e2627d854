"""One at a time among the processes of a parallel test run."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.kube import CACHE


@contextmanager
def alone(what: str) -> Iterator[None]:
    """Only one process of a parallel test run at a time is inside."""
    with (CACHE / f"{what}.test-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
