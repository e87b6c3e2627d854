"""One rank of the comparison, under torchrun: `ab.py MODEL OUT ULYSSES [--tiny]`.

Blocks of pictures in one process group, in turn: `bare`, a plain loop over xDiT's pipeline as its examples have it, and
`ours`, the worker's loop with ledger and writer. From prompt strings to bytes in host memory.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tests.bench.setting import GPU, TINY, Setting, job
from xdit_api.job import Job
from xdit_api.prompts import Prompt, image_seed
from xdit_runtime import handshake
from xdit_runtime.engine import flux, groups, loop
from xdit_runtime.engine.base import Image, Request, World
from xdit_runtime.engine.choice import engine_for
from xdit_runtime.engine.pulse import Every
from xdit_runtime.ledger import open_lane
from xdit_runtime.prompts import read_source
from xdit_runtime.sink import Sink

Images = dict[str, npt.NDArray[np.uint8]]


class TimedSink:
    """The real writer, and the time at which each picture reached it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.times: list[float] = []
        self.images: Images = {}
        self.drain_seconds = 0.0

    def put(self, prompt: Prompt, k: int, image: Image, seconds: float) -> None:
        self._sink.put(prompt, k, image, seconds)
        self.times.append(time.monotonic())
        self.images[prompt.id] = image

    def drain(self) -> None:
        started = time.monotonic()
        self._sink.drain()
        self.drain_seconds = time.monotonic() - started

    def close(self) -> None:
        self._sink.close()


class Bench:
    def __init__(self, setting: Setting, model: Path, work: Path, ulysses: int) -> None:
        self.setting, self.model, self.work, self.ulysses = setting, model, work, ulysses
        rank = int(os.environ["RANK"])
        self.world = World(rank, int(os.environ["LOCAL_RANK"]), ulysses, setting.device, timedelta(seconds=120))
        groups.start(self.world)
        self.control = groups.Control(self.world)
        self.blocks = 0
        started = time.monotonic()
        made: Any = engine_for(self.new_job("load", 0, 1), self.world, self.control)
        self.engine = made
        self.engine.load(lambda part: self.note(f"loading {part}"))
        self.synchronize()
        self.load_seconds = time.monotonic() - started
        self.pipeline = getattr(self.engine, "_wrapped", None) or self.engine.pipeline

    def note(self, text: str) -> None:
        print(f"[{time.strftime('%X')}] rank {self.world.rank}: {text}", flush=True)

    def synchronize(self) -> None:
        if self.world.device == "cuda":
            torch.cuda.synchronize()

    def new_job(self, name: str, start: int, count: int) -> Job:
        self.blocks += 1
        return job(
            self.setting,
            self.model,
            self.work / f"u{self.ulysses}-{name}-{self.blocks}-r{self.world.rank}",
            start,
            count,
            self.ulysses,
        )

    def bare(self, start: int, count: int, steps: int | None = None) -> tuple[list[float], Images]:
        """Intervals in seconds on the rank that has the pictures, [] elsewhere."""
        block = self.new_job("bare", start, count)
        todo = [p for p in read_source(block) if isinstance(p, Prompt)]
        times: list[float] = []
        images: Images = {}
        self.control.any(False)
        began = time.monotonic()
        for prompt in todo:
            out = self.pipeline(
                prompt=prompt.prompt,
                height=prompt.height,
                width=prompt.width,
                num_inference_steps=steps or prompt.steps,
                guidance_scale=prompt.guidance_scale,
                max_sequence_length=512,
                generator=torch.Generator("cpu").manual_seed(image_seed(block.defaults.seed, prompt, 0)),
                output_type="pil",
            )
            if out is not None:
                images[prompt.id] = np.asarray(out.images[0])
                times.append(time.monotonic())
        return intervals(began, times), images

    def ours(self, start: int, count: int) -> tuple[list[float], Images, float]:
        """The same, on rank 0, and the seconds that the writer needed after the last picture."""
        block = self.new_job("ours", start, count)
        lane_dir = Path(block.prompts.path).parent
        leader, timed = None, None
        if self.world.rank == 0:
            ledger = open_lane(block, replica=0, lane=0, lanes=1, pod_uid="bench")
            timed = TimedSink(Sink(ledger, block))
            report = partial(handshake.say_progress, lane_dir)
            leader = loop.Leader(0, ledger, timed, lambda prompt, k: False, report)

        def pulse() -> None:
            handshake.beat(lane_dir, self.world.rank)
            if leader is not None:
                leader.beat()

        alive = Every(1.0, pulse, time.monotonic)
        self.control.any(False)
        began = time.monotonic()
        outcome, counts = loop.run(
            block, self.engine, self.control, leader, alive=alive, stop=partial(handshake.stop_asked, lane_dir)
        )
        assert (outcome, counts.completed) == ("drained", count), (outcome, counts)
        if timed is None:
            return [], {}, 0.0
        return intervals(began, timed.times), timed.images, timed.drain_seconds

    def pieces(self) -> dict[str, float]:
        """Milliseconds of what the worker adds to a picture, one by one."""
        pixels = self.setting.pixels
        picture = torch.rand(1, 3, pixels, pixels, device=self.engine._device, dtype=getattr(torch, self.setting.dtype))
        image = flux.to_bytes(picture)
        last = self.ulysses - 1
        request = Request("a prompt that is not in the cache", pixels, pixels, 1, 3.5, 1)
        message = {"kind": "image", "prompt": {"prompt": request.prompt}, "k": 0}
        rank = self.world.rank

        def hand_over() -> None:
            given = image if rank == last else None
            self.control.hand_over(given, source=last, height=pixels, width=pixels)

        return {
            "to_bytes_ms": self.timed(lambda: flux.to_bytes(picture)),
            "to_pil_ms": self.timed(lambda: np.asarray(self.engine.pipeline.image_processor.postprocess(picture, "pil")[0])),
            "hand_over_ms": self.timed(hand_over),
            "stop_vote_ms": self.timed(lambda: self.control.any(False)),
            "broadcast_ms": self.timed(lambda: self.control.broadcast(message if rank == 0 else None)),
            "encode_text_ms": self.timed(lambda: self.engine._encode(request.prompt)),
            "cached_text_ms": self.timed(lambda: self.engine._texts.get(request.prompt)),
        }

    def timed(self, action: Callable[[], object], times: int = 10) -> float:
        taken = []
        inference: AbstractContextManager[None] = torch.inference_mode()
        with inference:
            for _ in range(times):
                self.synchronize()
                started = time.monotonic()
                action()
                self.synchronize()
                taken.append(1000 * (time.monotonic() - started))
        return round(statistics.median(taken), 3)


def intervals(began: float, times: list[float]) -> list[float]:
    return [round(b - a, 5) for a, b in zip([began, *times], times, strict=False)]


def save(path: Path, images: Images) -> None:
    if images:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **images)


def main() -> None:
    setting = TINY if "--tiny" in sys.argv else GPU
    model, work, ulysses = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    bench = Bench(setting, model, work, ulysses)
    rank, n = bench.world.rank, setting.block
    bench.note(f"loaded in {bench.load_seconds:.1f} s")
    warm, _ = bench.bare(900, 1, steps=4)
    bench.ours(901, 1)
    sides: dict[str, list[list[float]]] = {"bare": [], "ours": []}
    pictures: dict[str, Images] = {"bare": {}, "ours": {}}
    drained = []
    for start in (0, n):
        taken, images = bench.bare(start, n)
        bench.note(f"bare {taken}")
        sides["bare"].append(taken)
        pictures["bare"] |= images
        taken, images, drain = bench.ours(start, n)
        bench.note(f"ours {taken}")
        sides["ours"].append(taken)
        pictures["ours"] |= images
        drained.append(drain)
    for side, images in pictures.items():
        save(work / f"u{ulysses}-{side}.npz", images)
    result: dict[str, Any] = {"rank": rank, "load_seconds": round(bench.load_seconds, 2), "warm_up_seconds": warm, **sides}
    result["drain_seconds"] = [round(seconds, 3) for seconds in drained]
    result["pieces"] = bench.pieces()
    if setting.device == "cuda":
        result["memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        result["gpu"] = torch.cuda.get_device_name()
        if ulysses == 1:
            bench.pipeline.transformer.set_attention_backend("native")
            result["bare_torch_attention"], _ = bench.bare(950, 3)
    (work / f"u{ulysses}-rank{rank}.json").write_text(json.dumps(result))
    bench.control.any(False)
    os._exit(0)


if __name__ == "__main__":
    main()
