"""Messages between the ranks of a lane, each to all, that travel while a rank computes.

Two ways. `Collective` is the library's all-to-all: works everywhere. `Direct`, between GPUs of one host, has the copy
engines put every part where the other rank will read it: NCCL's kernels need 32 of 132 multiprocessors, and because a matrix
product fills them all, they do not start before it ends; copy engines need none.
"""

import os
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor


class Letter(Protocol):
    """A message: parts for all ranks, here P x B x S x …, written and posted in one or two ranges of S."""

    parts: Tensor
    """To be filled by the sender."""
    own: Tensor
    """Where parts[rank] belongs."""

    def post(self, start: int, stop: int) -> None:
        """Positions from `start` to `stop` are filled: send them."""

    def wait(self) -> Tensor:
        """The parts for this rank, in the order of the ranks. For a GPU: what is queued from now on has them."""


class Courier(Protocol):
    """Sends messages. All ranks send the same shapes in the same order, one after the other."""

    rank: int

    def letter(self, shape: tuple[int, ...], like: Tensor) -> Letter:
        """An empty one."""

    def send(self, parts: Tensor) -> Letter:
        """One that is posted already."""


class Collective:
    """Through NCCL or gloo."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = group
        self.rank = group.rank()

    def letter(self, shape: tuple[int, ...], like: Tensor) -> Letter:
        """See Courier."""
        return _Collected(like.new_empty(shape), self._group)

    def send(self, parts: Tensor) -> Letter:
        """See Courier."""
        letter = _Collected(parts, self._group)
        letter.post(0, parts.shape[2])
        return letter


class _Collected:
    def __init__(self, parts: Tensor, group: dist.ProcessGroup) -> None:
        self.parts, self.own = parts, parts[group.rank()]
        self._group = group
        self._missing = parts.shape[2]
        self._received = parts
        self._work: dist.Work | None = None

    def post(self, start: int, stop: int) -> None:
        self._missing -= stop - start
        if not self._missing and self._group.size() > 1:
            self._received = torch.empty_like(self.parts)
            self._work = dist.all_to_all_single(self._received, self.parts, group=self._group, async_op=True)

    def wait(self) -> Tensor:
        if self._work is not None:
            self._work.wait()
        return self._received


class Direct:
    """Through memory that all GPUs of the host see.

    A mailbox of each shape lies in every rank's memory. The sender's copy engines fill its place in all of them, then put
    the number of the message into the receiver's flag; the receiver's GPU waits for all flags. A mailbox may be filled again
    at once: messages alternate between two shapes (heads there, results back), and a rank sends the second only when it has
    read the first, so that whoever got all answers knows that its letters were read.
    """

    def __init__(self, group: dist.ProcessGroup, device: torch.device) -> None:
        """All ranks make it together. Raises RuntimeError where memory cannot be shared."""
        # its multicast objects are not needed, and hosts with several tenants may not have them
        os.environ["TORCH_SYMM_MEM_DISABLE_MULTICAST"] = "1"
        self._group = group
        self._device = device
        self.rank, ranks = group.rank(), group.size()
        self.roads = {(self.rank + step) % ranks: torch.cuda.Stream(device) for step in range(1, ranks)}
        """One stream for each other rank: several copy engines work at once."""
        self._count = torch.ones(1, dtype=torch.int32, device=device)
        self._boxes: dict[tuple[int, ...], list[Tensor]] = {}
        self._flags = self._shared((ranks, 32), torch.int32)
        self._flags[self.rank].zero_()
        torch.cuda.synchronize(device)
        dist.barrier(group)

    def letter(self, shape: tuple[int, ...], like: Tensor) -> Letter:
        """See Courier. The first one of a shape makes its mailboxes, which may not happen while a graph is captured."""
        return _Direct(self, like.new_empty(shape), self._mailboxes(shape, like.dtype))

    def send(self, parts: Tensor) -> Letter:
        """See Courier."""
        letter = _Direct(self, parts, self._mailboxes(tuple(parts.shape), parts.dtype))
        letter.post(0, parts.shape[2])
        letter.own.copy_(parts[self.rank])
        return letter

    def finish(self, road: torch.cuda.Stream, other: int) -> None:
        """Raise this rank's flag at `other` when all that was put on `road` is there."""
        with torch.cuda.stream(road):
            self._flags[other][self.rank, :1].copy_(self._count, non_blocking=True)

    def arrive(self) -> None:
        """Make the current stream wait for the latest message of all ranks."""
        from xdit_runtime.engine.flux.kernels import wait_for

        for road in self.roads.values():
            torch.cuda.current_stream().wait_stream(road)
        wait_for(self._flags[self.rank], self._count, self.rank)

    def _mailboxes(self, shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
        if shape not in self._boxes:
            self._boxes[shape] = self._shared(shape, dtype)
        return self._boxes[shape]

    def _shared(self, shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
        """The tensor of that shape of every rank."""
        from torch.distributed import _symmetric_memory as symmetric

        mine = symmetric.empty(shape, dtype=dtype, device=self._device)
        handle = symmetric.rendezvous(mine, self._group)
        ranks = range(self._group.size())
        return [mine if rank == self.rank else handle.get_buffer(rank, shape, dtype) for rank in ranks]


class _Direct:
    def __init__(self, courier: Direct, parts: Tensor, boxes: list[Tensor]) -> None:
        self.parts = parts  # must live until it has been copied
        self.own = boxes[courier.rank][courier.rank]
        self._courier, self._boxes = courier, boxes
        self._missing = parts.shape[2]

    def post(self, start: int, stop: int) -> None:
        courier = self._courier
        ready = torch.cuda.current_stream().record_event()
        self._missing -= stop - start
        for other, road in courier.roads.items():
            road.wait_event(ready)
            with torch.cuda.stream(road):
                place = self._boxes[other][courier.rank]
                place[:, start:stop].copy_(self.parts[other][:, start:stop], non_blocking=True)
            if not self._missing:
                courier.finish(road, other)

    def wait(self) -> Tensor:
        self._courier.arrive()
        return self._boxes[self._courier.rank]


def linked(device: torch.device, ranks: int) -> bool:
    """Whether the first `ranks` GPUs that this process sees can read each other's memory: those of a lane inside one pod."""
    if device.type != "cuda" or ranks == 1 or torch.cuda.device_count() < ranks:
        return False
    pairs = ((a, b) for a in range(ranks) for b in range(ranks) if a != b)
    return all(torch.cuda.can_device_access_peer(a, b) for a, b in pairs)
