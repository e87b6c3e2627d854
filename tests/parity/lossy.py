"""Settings that change pictures, and those that must not, on small models on the CPU: `python lossy.py OUT`.

One process imports everything and forks the ranks of each case. Writes OUT/<case>.npz with the pictures, one uint8 array a
request, and `calls`: how often the last block was computed for each. Exits with 1 when a rank fails.
"""

import os
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp

from tests.parity.cpu_job import cpu_job
from tests.parity.lossy_cases import CASES, Case
from xdit_api.job import Degrees, Job
from xdit_api.spec import Engine
from xdit_runtime import tiny_models
from xdit_runtime.engine import cpu, groups, splitting, stepcache
from xdit_runtime.engine.base import Request, World
from xdit_runtime.engine.model import ModelEngine

REQUESTS = {
    "boat": Request("a small red boat on the sea", 128, 128, 6, 4.5, 7),
    "cats": Request("two cats under a table", 128, 128, 5, 4.5, 9),
    "again": Request("a small red boat on the sea", 128, 128, 6, 4.5, 7),
}
_BLOCKS = ("transformer_blocks", "single_transformer_blocks", "layers", "up_blocks")


def job(model: Path, case: Case) -> Job:
    return cpu_job(model, Degrees(**case.degrees)).model_copy(update={"engine": Engine.model_validate(case.engine)})


def last_block(network: torch.nn.Module) -> torch.nn.Module:
    blocks = [block for name in _BLOCKS for block in getattr(network, name, ())]
    last: torch.nn.Module = blocks[-1]
    return last


def counted(network: torch.nn.Module) -> list[int]:
    """A list that grows with each call of the last block's own feed-forward or attention: what a step cache leaves out."""
    calls: list[int] = []
    inner = [module for module in last_block(network).modules() if isinstance(module, torch.nn.Linear)]
    inner[-1].register_forward_hook(lambda *_: calls.append(1))
    return calls


def same_call_twice(engine: ModelEngine, network: torch.nn.Module) -> float:
    """The largest difference that leaving a step out makes when nothing changed since the last one: rounding only."""
    seen: list[tuple[Any, Any]] = []
    handle = network.register_forward_pre_hook(lambda _, args, named: seen.append((args, named)), with_kwargs=True)
    engine.generate([REQUESTS["boat"]], lambda *_: None)
    handle.remove()
    args, named = seen[0]
    calls = counted(network)
    engine._begin()
    with torch.inference_mode():
        made = [network(*args, **named)[0] for _ in range(2)]
    first, second = (torch.stack(list(one)) for one in made)
    assert len(calls) == 1, "the second call was to be left out"
    return float((first - second).abs().max() / first.abs().max())


def rank(index: int, name: str, port: int, out: Path) -> None:
    case = CASES[name]
    size = Degrees(**case.degrees).world_size
    os.environ.update(
        RANK=str(index), LOCAL_RANK=str(index), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    stepcache.THRESHOLDS.update({"FBCache": case.threshold, "TeaCache": case.threshold})
    world = World(index, index, size, "cpu", timedelta(seconds=60))
    groups.start(world)
    engine = ModelEngine(job(out / case.family, case), world, groups.Control(world))
    engine.load(lambda part: None)
    network = splitting.network_of(engine.pipeline)
    if case.twice:
        np.savez(out / f"{name}.npz", allow_pickle=False, twice=same_call_twice(engine, network))
        return
    calls, counts, made = counted(network), [], {}
    for request, what in REQUESTS.items():
        before = len(calls)
        images = engine.generate([what], lambda *_: None)
        counts.append(len(calls) - before)
        if images is not None:
            made[request] = images[0]
    if index == 0:
        np.savez(out / f"{name}.npz", allow_pickle=False, calls=np.array(counts), **made)


def main() -> None:
    out = Path(sys.argv[1])
    import diffusers

    diffusers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity_error()
    os.environ["LOG_LEVEL"] = "error"
    torch.set_num_threads(1)
    cpu.install()
    for family in sorted({case.family for case in CASES.values()}):
        tiny_models.write(out / family, family)
    # what a rank imports late, each would import for itself
    import torchao.quantization  # noqa: F401

    for name in CASES if len(sys.argv) == 2 else sys.argv[2:]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        mp.start_processes(rank, (name, port, out), nprocs=Degrees(**CASES[name].degrees).world_size, start_method="fork")


if __name__ == "__main__":
    main()
