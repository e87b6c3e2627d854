"""Quantisation, step caches and offload on one GPU: `python -m tests.bench.lossy MODEL [--tiny]`.

MODEL is a directory as tests/bench/write.py makes it, of FLUX.1. For each setting one line of JSON: seconds and peak memory of
the second picture, levels by which it is off from the exact one, and whether a third one is the same to the bit. --tiny: on the
CPU, for a try of this file.
"""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xdit_api import API_VERSION
from xdit_api.job import Degrees, Job, JobModel, JobOutput, JobPrompts
from xdit_runtime.engine import groups
from xdit_runtime.engine.base import Request, World
from xdit_runtime.engine.model import ModelEngine
from xdit_runtime.engine.tuning import Tuning

SETTINGS: dict[str, dict[str, Any]] = {
    "exact": {},
    "text-encoder": {"offload": "TextEncoder"},
    "model": {"offload": "Model"},
    "fbcache": {"cache": "FBCache"},
    "teacache": {"cache": "TeaCache"},
    "int8": {"quantization": "Int8"},
    "fp8": {"quantization": "FP8"},
}
COMPILED = ("exact", "int8", "fp8")


def measure(name: str, model: Path, world: World, compiled: bool) -> Any:
    cuda = world.device == "cuda"
    side, steps = (1024, 28) if cuda else (64, 6)
    job = Job(
        api_version=API_VERSION,
        name="lossy",
        uid="lossy",
        device=world.device,
        gpus=1,
        gpus_per_pod=1,
        degrees=Degrees(),
        model=JobModel(id="bench", path=str(model), dtype="bfloat16" if cuda else "float32"),
        prompts=JobPrompts(path="/none", format="jsonl"),
        output=JobOutput(path="/none"),
        engine=SETTINGS[name],
    )
    size = frozenset({(side, side)}) if compiled else frozenset()
    capability = torch.cuda.get_device_capability() if cuda else (0, 0)
    engine = ModelEngine(job, world, groups.Control(world), Tuning(compiled=size, capability=capability))
    began = time.monotonic()
    engine.load(lambda part: None)
    loaded = time.monotonic() - began
    made = []
    seconds = 0.0
    for number in (1, 2, 2):
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        began = time.monotonic()
        images = engine.generate([Request(f"a boat, study number {number}", side, side, steps, 3.5, 7)], lambda *_: None)
        assert images is not None
        made.append(images[0].astype(np.int16))
        if len(made) == 2:
            seconds = time.monotonic() - began
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0
    engine.close()
    line = {"setting": name, "compiled": compiled, "load_seconds": loaded, "seconds": seconds, "peak_gib": peak}
    return line | {"repeats": bool(np.array_equal(made[1], made[2]))}, made[1]


def main() -> None:
    tiny = "--tiny" in sys.argv
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29711"}
    world = World(0, 0, 1, "cpu" if tiny else "cuda", timedelta(seconds=60))
    groups.start(world)
    exact = None
    for compiled in (False,) if tiny else (False, True):
        for name in SETTINGS if not compiled else COMPILED:
            if tiny and name == "fp8":
                continue
            line, picture = measure(name, Path(sys.argv[1]), world, compiled)
            exact = picture if exact is None else exact
            off = np.abs(picture - exact)
            print(json.dumps(line | {"mean_levels": round(float(off.mean()), 3), "max_levels": int(off.max())}), flush=True)
            if not tiny:
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
