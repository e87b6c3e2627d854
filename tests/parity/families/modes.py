"""All families in all modes on the CPU: `python modes.py OUT [FAMILY[:MODE] …]`.

One process imports everything and forks the ranks of each mode, so that hundreds of ranks cost one import. Writes
OUT/<family>/<mode>.npz with one uint8 array a request, and OUT/<family>/<mode>.txt instead when a rank failed.
"""

import os
import socket
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.multiprocessing as mp

from tests.parity.cpu_job import cpu_job
from tests.parity.families.every import TABLE
from tests.parity.families.table import WARM, Case
from xdit_api.job import Degrees
from xdit_runtime import tiny_models
from xdit_runtime.engine import cpu, groups
from xdit_runtime.engine.base import Request, World
from xdit_runtime.engine.model import ModelEngine
from xdit_runtime.engine.wrapped import Wrapped

TIMEOUT = timedelta(seconds=60)
Pictures = dict[str, npt.NDArray[np.uint8]]


def save(path: Path, images: Mapping[str, npt.NDArray[np.uint8]]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **images)


def reference(case: Case, model: Path) -> Pictures:
    """diffusers as its documentation shows it: nothing of ours."""
    pipeline = case.pipeline(model)
    return {name: np.asarray(pipeline(**case.plainly(request)).images[0]) for name, request in case.requests().items()}


def draw(engine: ModelEngine, requests: Sequence[Request]) -> list[npt.NDArray[np.uint8]] | None:
    """One call, after which every rank must have heard of every step."""
    steps: list[tuple[int, int]] = []
    made = engine.generate(requests, lambda *step: steps.append(step))
    assert steps == [(n + 1, requests[0].steps) for n in range(requests[0].steps)], steps
    return made


def pictures(engine: ModelEngine, case: Case, degrees: Degrees) -> Pictures:
    """All of a mode; empty on ranks other than 0."""
    requests = case.requests()
    made = {name: draw(engine, [request]) for name, request in requests.items()}
    if case.batch():
        together = draw(engine, [requests[name] for name in case.batch()])
        made |= {f"{name}~batch": None if together is None else [together[i]] for i, name in enumerate(case.batch())}
    if degrees.pipefusion > 1:
        split = engine._split
        assert isinstance(split, Wrapped)
        split._degrees = degrees.model_copy(update={"warmup_steps": 100})
        made |= {name + WARM: draw(engine, [request]) for name, request in requests.items()}
        split._degrees = degrees
        made["last"] = draw(engine, [requests["boat"]])
    return {name: images[0] for name, images in made.items() if images is not None}


def rank(index: int, family: str, mode: str, degrees: Degrees, port: int, out: Path) -> None:
    case, model, size = TABLE[family], out / family / "model", degrees.world_size
    torch.set_num_threads(1)
    try:
        if mode == "diffusers":
            made = reference(case, model)
        else:
            os.environ.update(
                RANK=str(index), LOCAL_RANK=str(index), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
            )
            world = World(index, index, size, "cpu", TIMEOUT)
            groups.start(world)
            control = groups.Control(world)
            engine = ModelEngine(cpu_job(model, degrees), world, control)
            engine.load(lambda part: None)
            made = pictures(engine, case, degrees)
            control.part()
        if index == 0:
            save(out / family / f"{mode}.npz", made)
    except BaseException:  # noqa: BLE001 - the test of this mode shows it
        with (out / family / f"{mode}.txt").open("a") as file:
            file.write(f"rank {index}: {traceback.format_exc()}\n")
        os._exit(1)
    os._exit(0)


def run(family: str, mode: str, degrees: Degrees, out: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    arguments = (family, mode, degrees, port, out)
    context = mp.start_processes(rank, arguments, nprocs=degrees.world_size, join=False, start_method="fork")
    try:
        while not context.join(timeout=2 * TIMEOUT.total_seconds()):
            assert time.monotonic() - started < 2 * TIMEOUT.total_seconds(), "hangs"
        print(f"{family} {mode}: {time.monotonic() - started:.1f} s", flush=True)
    except Exception as error:  # noqa: BLE001 - the others must still run; the test of this mode fails
        for process in context.processes:
            process.kill()
            process.join()
        with (out / family / f"{mode}.txt").open("a") as file:
            file.write(f"{error}\n")
        print(f"{family} {mode}: FAILED", flush=True)


def main() -> None:
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    os.environ["LOG_LEVEL"] = "error"
    cpu.install()
    out, wanted = Path(sys.argv[1]), sys.argv[2:] or list(TABLE)
    for one in wanted:
        family, _, mode = one.partition(":")
        case = TABLE[family]
        tiny_models.write(out / family / "model", case.model)
        for name, degrees in {"diffusers": Degrees(), "one": Degrees(), **case.modes()}.items():
            if mode in ("", name) or name in ("diffusers", "one"):
                run(family, name, degrees, out)


if __name__ == "__main__":
    main()
