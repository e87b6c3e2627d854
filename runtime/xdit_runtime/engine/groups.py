"""Process groups that cannot wait for ever, and the small agreements between the ranks of a lane."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import numpy as np
import torch
import torch.distributed as dist

from xdit_api.base import Json
from xdit_runtime.engine.base import Image, World


def start(world: World) -> None:
    """Join the default group: NCCL on GPUs, gloo on CPUs. A world of one has none.

    Without device_id: with it, NCCL breaks the groups that xfuser makes later.
    """
    if world.device == "cuda":
        torch.cuda.set_device(world.local_rank)
    if world.size > 1:
        dist.init_process_group("nccl" if world.device == "cuda" else "gloo", timeout=world.timeout)


def start_alone(world: World) -> None:
    """A group of one, for xfuser's parts in a world of one; nothing in larger ones."""
    if world.size == 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if world.device == "cuda" else "gloo", timeout=world.timeout)


@contextmanager
def bounded(timeout: timedelta) -> Iterator[None]:
    """Every group that is made inside gets this timeout: xfuser and yunchang pass none, and torch's are 10 and 30 minutes."""
    original = dist.new_group
    dist.new_group = partial(original, timeout=timeout)
    try:
        yield
    finally:
        dist.new_group = original


class Control:
    """Messages between the ranks of a lane, on the CPU: nothing here waits for a GPU's queue."""

    def __init__(self, world: World) -> None:
        """All ranks of the lane make it at the same time."""
        self._world = world
        self._group = dist.new_group(backend="gloo", timeout=world.timeout) if world.size > 1 else None

    def broadcast(self, message: Json | None) -> Json:
        """Rank 0's message, on every rank. The others pass None."""
        if self._group is None:
            assert message is not None
            return message
        text = json.dumps(message).encode() if self._world.rank == 0 else b""
        size = torch.tensor([len(text)])
        dist.broadcast(size, src=0, group=self._group)
        data = torch.frombuffer(bytearray(text), dtype=torch.uint8) if text else torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(data, src=0, group=self._group)
        decoded: Json = json.loads(data.numpy().tobytes())
        return decoded

    def any(self, flag: bool) -> bool:
        """Whether any rank says yes."""
        if self._group is None:
            return flag
        votes = torch.tensor([int(flag)])
        dist.all_reduce(votes, op=dist.ReduceOp.MAX, group=self._group)
        return bool(votes)

    def gather(self, waiting: Callable[[], None]) -> None:
        """Wait until all ranks are here; `waiting` is called every second meanwhile. For waits that may be long."""
        if self._group is None:
            return
        work = dist.all_reduce(torch.zeros(1), group=self._group, async_op=True)
        deadline = time.monotonic() + self._world.timeout.total_seconds()
        called = time.monotonic()
        while not work.is_completed() and time.monotonic() < deadline:
            time.sleep(0.02)
            if time.monotonic() - called >= 1:
                called = time.monotonic()
                waiting()
        work.wait()

    def hand_over(self, images: list[Image] | None, *, source: int, count: int, height: int, width: int) -> list[Image] | None:
        """Bring the pictures from rank `source` to rank 0: the pictures there, None elsewhere."""
        if self._world.rank != source:
            images = None
        if source == 0 or self._group is None:
            return images
        if self._world.rank == source:
            assert images is not None
            dist.send(torch.from_numpy(np.stack(images)), dst=0, group=self._group)
            return None
        if self._world.rank == 0:
            received = np.empty((count, height, width, 3), dtype=np.uint8)
            dist.recv(torch.from_numpy(received), src=source, group=self._group)
            return list(received)
        return None

    def part(self) -> None:
        """Rank 0 leaves last, so that the others have read its last message. Whoever is not rank 0 needs nobody any more."""
        try:
            self.gather(lambda: None)
        except RuntimeError:
            if self._world.rank == 0:
                raise
