"""Pictures that are redrawn, and LoRAs, on one rank and on two: `python -m tests.parity.inputs_and_loras OUT`.

One process imports everything and forks the ranks. Writes OUT/<model>-<mode>.npz with one uint8 array a request.
"""

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as mp
from PIL import Image
from safetensors.torch import save_file

from tests.parity.cpu_job import cpu_job
from xdit_api.job import Degrees, Job
from xdit_api.spec import Lora
from xdit_runtime import tiny_models
from xdit_runtime.engine import cpu, groups
from xdit_runtime.engine.base import Request, World
from xdit_runtime.engine.model import ModelEngine

LORAS = ("ink", "oil")
MODES = {"one": Degrees(), "ulysses2": Degrees(ulysses=2)}
RUNS = [("flux", "one"), ("flux", "ulysses2"), ("sd3", "one"), ("sdxl", "one")]


def inputs(out: Path) -> tuple[str, str]:
    """A wide picture with soft colours and one of squares."""
    y, x = np.mgrid[0:300, 0:400]
    Image.fromarray(np.stack([x * 255 // 400, y * 255 // 300, (x + y) % 256], -1).astype(np.uint8)).save(out / "soft.png")
    squares = np.stack([x // 32 % 2 * 200, y // 32 % 2 * 220, x * 0 + 30], -1)
    Image.fromarray(squares.astype(np.uint8)).save(out / "squares.png")
    return str(out / "soft.png"), str(out / "squares.png")


def write_lora(path: Path, seed: int) -> None:
    """Rank 2, for the attention of all blocks of the tiny FLUX, as peft names it."""
    noise = torch.Generator().manual_seed(seed)
    kinds = [f"transformer_blocks.{i}.attn" for i in range(4)] + [f"single_transformer_blocks.{i}.attn" for i in range(4)]
    weights = {}
    for kind in kinds:
        for part in ("to_q", "to_v"):
            weights[f"transformer.{kind}.{part}.lora_A.weight"] = torch.randn(2, 64, generator=noise) * 0.3
            weights[f"transformer.{kind}.{part}.lora_B.weight"] = torch.randn(64, 2, generator=noise) * 0.3
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)


def requests(model: str, out: Path) -> Mapping[str, Request]:
    """By name, in the order in which they are drawn."""
    soft, squares = inputs(out)
    boat = Request("a small red boat on the sea", 128, 128, 4, 3.5, 7, loras=())
    made = {
        "drawn": boat,
        "half": replace(boat, inputs=(soft,), strength=0.5),
        "most": replace(boat, inputs=(soft,), strength=0.9),
        "squares": replace(boat, inputs=(squares,), strength=0.5),
        "drawn-again": boat,
    }
    if model == "flux":
        made |= {
            "own": replace(boat, loras=None),
            "ink": replace(boat, loras=(("ink", 1.0),)),
            "oil": replace(boat, loras=(("oil", 1.0),)),
            "ink-again": replace(boat, loras=(("ink", 1.0),)),
            "both": replace(boat, loras=(("ink", 1.0), ("oil", 0.5))),
            "nothing": replace(boat, loras=(("ink", 0.0),)),
            "without": boat,
            "redrawn": replace(boat, inputs=(soft,), strength=0.5, loras=(("ink", 1.0),)),
        }
    return made


def job(model: Path, degrees: Degrees, loras: list[Lora]) -> Job:
    plain = cpu_job(model, degrees)
    return plain.model_copy(update={"model": plain.model.model_copy(update={"loras": loras})})


def rank(index: int, model: str, mode: str, port: int, out: Path) -> None:
    degrees = MODES[mode]
    size = str(degrees.world_size)
    os.environ.update(RANK=str(index), LOCAL_RANK=str(index), WORLD_SIZE=size, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    world = World(index, index, degrees.world_size, "cpu", timedelta(seconds=60))
    groups.start(world)
    loras = [Lora(name=name, path=f"loras/{name}.safetensors", scale=0.7) for name in LORAS] if model == "flux" else []
    control = groups.Control(world)
    engine = ModelEngine(job(out / model, degrees, loras), world, control)
    engine.load(lambda part: None)
    made = {}
    for name, request in requests(model, out).items():
        steps: list[tuple[int, int]] = []
        drawn = engine.generate([request], lambda *step, steps=steps: steps.append(step))
        assert steps == [(n + 1, len(steps)) for n in range(len(steps))], steps
        assert len(steps) == (4 if request.strength is None else {0.5: 2, 0.9: 3 if model == "sdxl" else 4}[request.strength])
        if drawn is not None:
            made[name] = drawn[0]
    control.part()
    if index == 0:
        np.savez(out / f"{model}-{mode}.npz", allow_pickle=False, **made)


def main() -> None:
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    os.environ["LOG_LEVEL"] = "error"
    cpu.install()
    out = Path(sys.argv[1])
    for model in dict(RUNS):
        tiny_models.write(out / model, model)
    for seed, name in enumerate(LORAS):
        write_lora(out / "flux" / "loras" / f"{name}.safetensors", seed)
    for model, mode in RUNS:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        mp.start_processes(rank, (model, mode, port, out), nprocs=MODES[mode].world_size, start_method="fork")


if __name__ == "__main__":
    main()
