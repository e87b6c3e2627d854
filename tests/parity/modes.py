"""The same requests through every exact mode, on the CPU: `python -m tests.parity.modes MODEL OUT`.

Writes the tiny model to MODEL. One process imports everything and forks the ranks of each mode, so that ten ranks cost one import. Writes
OUT/<mode>.npz with one uint8 array a request, and exits with 1 when a rank fails.
"""

import os
import socket
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.parity.cpu_job import cpu_job
from xdit_api.job import Degrees
from xdit_runtime import tiny_model
from xdit_runtime.engine import cpu, groups
from xdit_runtime.engine.base import Request, World
from xdit_runtime.engine.model import ModelEngine

TIMEOUT = timedelta(seconds=67)
"""Not a default of anything, so that a group without it can be told."""

REQUESTS = {
    "boat": Request("a small red boat on the sea", 256, 256, 4, 3.5, 7),
    "see": Request("a small red boat on the see", 256, 256, 4, 3.5, 7),
    "wide": Request("two cats under a table, oil painting", 320, 128, 3, 1.0, 11),
    "tall": Request("a green forest at night", 128, 256, 5, 7.0, 2**53 - 1),
    "boat-seed": Request("a small red boat on the sea", 256, 256, 4, 3.5, 8),
    "boat-again": Request("a small red boat on the sea", 256, 256, 4, 3.5, 7),
}

MODES = {"one": Degrees()} | {
    name: Degrees(ulysses=ulysses, ring=ring)
    for name, ulysses, ring in (("ulysses2", 2, 1), ("ring2", 1, 2), ("ulysses2-ring2", 2, 2))
}


def save(path: Path, images: Mapping[str, npt.NDArray[np.uint8]]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **images)


def reference(out: Path, model: Path) -> None:
    """diffusers as its documentation shows it: nothing of ours."""
    from diffusers import FluxPipeline

    pipeline = FluxPipeline.from_pretrained(model)
    made = {
        name: np.asarray(
            pipeline(
                r.prompt,
                height=r.height,
                width=r.width,
                num_inference_steps=r.steps,
                guidance_scale=r.guidance_scale,
                generator=torch.Generator("cpu").manual_seed(r.seed),
            ).images[0]
        )
        for name, r in REQUESTS.items()
    }
    save(out / "diffusers.npz", made)


def rank(index: int, mode: str, port: int, out: Path, model: Path) -> None:
    if mode == "diffusers":
        reference(out, model)
        return
    degrees = MODES[mode]
    size = degrees.world_size
    os.environ.update(
        RANK=str(index), LOCAL_RANK=str(index), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    world = World(index, index, size, "cpu", TIMEOUT)
    groups.start(world)
    engine = ModelEngine(cpu_job(model, degrees), world, groups.Control(world))
    engine.load(lambda part: None)
    steps: list[tuple[int, int]] = []
    made = {name: engine.generate([request], lambda *step: steps.append(step)) for name, request in REQUESTS.items()}
    images = {name: drawn[0] for name, drawn in made.items() if drawn is not None}
    assert steps == [(n + 1, r.steps) for r in REQUESTS.values() for n in range(r.steps)], steps
    assert len(images) == (len(REQUESTS) if index == 0 else 0)
    if dist.is_initialized():
        timeouts = {group._get_backend(torch.device("cpu")).options._timeout for group in dist.distributed_c10d._world.pg_map}
        assert timeouts == {TIMEOUT}, timeouts
    if index == 0:
        save(out / f"{mode}.npz", images)


def main() -> None:
    model, out = Path(sys.argv[1]), Path(sys.argv[2])
    import diffusers

    diffusers.utils.logging.disable_progress_bar()
    tiny_model.write(model)
    cpu.install()
    for mode in ("diffusers", *MODES):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        size = MODES[mode].world_size if mode in MODES else 1
        mp.start_processes(rank, (mode, port, out, model), nprocs=size, start_method="fork")


if __name__ == "__main__":
    main()
