"""Three ranks exercise engine.groups: `python control_ranks.py agree|lost|timeout`. Exits with 1 when a rank finds a mistake."""

import os
import socket
import sys
import time
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from xdit_api.report import Exit
from xdit_runtime.engine import groups
from xdit_runtime.engine.base import World
from xdit_runtime.engine.errors import classify

SIZE = 3


def agree(control: groups.Control, rank: int) -> None:
    for message in ({"kind": "wait"}, {"kind": "image", "prompt": {"prompt": "ein Häuschen 🏠" * 2000, "seed": 2**63 - 1}}):
        assert control.broadcast(message if rank == 0 else None) == message
    for asked in ((), (1,), (0, 2)):
        assert control.any(rank in asked) == bool(asked)
    pictures = list(np.random.default_rng(7).integers(0, 256, (2, 48, 32, 3), dtype=np.uint8))
    for source in range(SIZE):
        got = control.hand_over(pictures if rank == source else None, source=source, count=2, height=48, width=32)
        assert (got is not None) == (rank == 0)
        assert got is None or np.array_equal(got, pictures)
    waited: list[float] = []
    if rank == 2:
        time.sleep(2.5)
    control.gather(lambda: waited.append(time.monotonic()))
    assert len(waited) == (0 if rank == 2 else 2), waited
    control.part()


def expect(exit_code: Exit, control: groups.Control, within: float) -> None:
    started = time.monotonic()
    with pytest.raises(RuntimeError) as caught:
        control.any(False)
    assert classify(caught.value, phase="work", device="cuda") == exit_code, repr(caught.value)
    assert time.monotonic() - started < within


def lost(control: groups.Control, rank: int) -> None:
    control.any(False)
    if rank == 1:
        os._exit(0)
    expect(Exit.PEER_LOST, control, within=5)


def timeout(control: groups.Control, rank: int) -> None:
    if rank == 1:
        time.sleep(6)
        os._exit(0)
    expect(Exit.PEER_LOST, control, within=5)


def run(rank: int, port: int, case: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(SIZE), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    world = World(rank, rank, SIZE, "cpu", timedelta(seconds=3 if case == "timeout" else 30))
    groups.start(world)
    {"agree": agree, "lost": lost, "timeout": timeout}[case](groups.Control(world), rank)
    os._exit(0)


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(run, (port, sys.argv[1]), nprocs=SIZE, start_method="fork")
