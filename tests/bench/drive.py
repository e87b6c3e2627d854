"""One rank of an engine that draws what it is told, under torchrun: `drive.py NAME MODEL WORK DEGREES RUNS [--tiny] [--compile]`.

DEGREES: JSON of xdit_api.job.Degrees. RUNS: JSON list of {pixels, steps, batch, times}; the first call of each is not measured
but reported. Rank 0 writes WORK/NAME.json after every run, and the last picture of the first run to WORK/NAME.npz.
"""

import json
import os
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch

from tests.bench.setting import GPU, TINY, job, prompts
from xdit_api.job import Degrees
from xdit_runtime import handshake, processes
from xdit_runtime.engine import choice, groups
from xdit_runtime.engine.base import Image, Request, World
from xdit_runtime.engine.model import ModelEngine
from xdit_runtime.engine.tuning import Tuning
from xdit_runtime.prompts.frozen import Shape


def main() -> None:
    processes.die_with_parent()
    name, model, work = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    degrees, runs = Degrees.model_validate_json(sys.argv[4]), json.loads(sys.argv[5])
    setting = TINY if "--tiny" in sys.argv else GPU
    if "--compile" not in sys.argv:
        setting = replace(setting, compile="Never")
    index = int(os.environ["RANK"])
    world = World(index, int(os.environ["LOCAL_RANK"]), degrees.world_size, setting.device, timedelta(seconds=120))
    groups.start(world)
    control = groups.Control(world)
    made = job(setting, model, work / f"{name}-r{index}", degrees)
    shapes = [Shape(run["pixels"], run["pixels"], run["steps"], 1000) for run in runs]
    tuning = Tuning.of(choice.decide(made, world, shapes))
    engine = ModelEngine(made, world, control, tuning)
    began = time.monotonic()
    engine.load(lambda _part: None)
    found: dict[str, object] = {"degrees": degrees.describe(), "load_seconds": round(time.monotonic() - began, 1), "runs": []}
    done = []
    texts = [line["prompt"] for line in prompts(0, 100)]
    for number, run in enumerate(runs):
        taken, images = [], None
        # a batch of another size than the job's would run eagerly
        engine._tuning = replace(tuning, batches=((run["pixels"], run["pixels"], run["batch"]),))
        for k in range(1 + run["times"]):
            requests = [
                Request(texts[(k * run["batch"] + n) % 100], run["pixels"], run["pixels"], run["steps"], 3.5, 1000 * k + n)
                for n in range(run["batch"])
            ]
            control.any(False)
            started = time.monotonic()
            images = engine.generate(requests, lambda *_: None)
            control.any(False)
            taken.append(round(time.monotonic() - started, 3))
        if images is not None:
            done.append({**run, "first_seconds": taken[0], "seconds": taken[1:], **facts(images)})
            if number == 0:
                np.savez(work / f"{name}.npz", allow_pickle=False, picture=images[0])
        if world.device == "cuda":
            found["memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        if index == 0:
            handshake.write_whole(work / f"{name}.json", json.dumps({**found, "runs": done}))
            print(f"[{time.strftime('%X')}] {json.dumps(done[-1])}", flush=True)
    control.any(False)
    os._exit(0)


def facts(images: list[Image]) -> dict[str, float]:
    """What tells a picture from a black or broken one."""
    return {"pictures": len(images), "level_spread": round(float(np.std(images[0])), 2)}


if __name__ == "__main__":
    main()
