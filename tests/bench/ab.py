"""One rank of a comparison, under torchrun: `ab.py NAME MODELS WORK ULYSSES PARTS UNTIL BLOCK PAIRS [--tiny]`.

Blocks of pictures in one process group, in turn: `bare`, a plain loop over xDiT's pipeline (one GPU: diffusers') as its
examples have it, and `ours`, the worker's loop with ledger and writer. Both from prompt strings to bytes in host memory. Both
use the same weights; what a rank knows is written to WORK/NAME-rank<n>.json after every part. PAIRS blocks of BLOCK images a
side; no further pair begins that would end later than UNTIL seconds after the start.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tests.bench.setting import GPU, TINY, Setting, job
from xdit_api.job import Degrees, Job
from xdit_api.prompts import Prompt, image_seed
from xdit_api.report import Counts, LaneProgress
from xdit_runtime import handshake, processes
from xdit_runtime.engine import attention, choice, groups, loop, model, splitting
from xdit_runtime.engine.base import Request, World
from xdit_runtime.engine.pulse import Every
from xdit_runtime.ledger import open_lane
from xdit_runtime.prompts import read_source
from xdit_runtime.prompts.frozen import Shape
from xdit_runtime.sink import Made, Sink

Images = dict[str, npt.NDArray[np.uint8]]
BEGAN = time.monotonic()
WARM_UP = 900
"""Number of the first prompt that is not measured."""


class Rank:
    """This rank's place, and what it has found."""

    def __init__(self, name: str, setting: Setting, models: Path, work: Path, ulysses: int) -> None:
        self.name, self.setting, self.models, self.work, self.ulysses = name, setting, models, work, ulysses
        self.index = int(os.environ["RANK"])
        self.world = World(self.index, int(os.environ["LOCAL_RANK"]), ulysses, setting.device, timedelta(seconds=120))
        groups.start(self.world)
        self.control = groups.Control(self.world)
        self.found: dict[str, Any] = {}
        self._jobs = 0

    def say(self, key: str, value: object) -> None:
        self.found[key] = value
        path = self.work / f"{self.name}-rank{self.index}.json"
        handshake.write_whole(path, json.dumps(self.found))
        print(f"[{time.strftime('%X')}] rank {self.index}: {key} {json.dumps(value)[:300]}", flush=True)

    def new_job(self, start: int, count: int, pixels: int | None = None, steps: int | None = None) -> Job:
        self._jobs += 1
        directory = self.work / f"{self.name}-{self._jobs}-r{self.index}"
        return job(self.setting, self.models / "flux", directory, Degrees(ulysses=self.ulysses), start, count, pixels, steps)

    def synchronize(self) -> None:
        if self.world.device == "cuda":
            torch.cuda.synchronize()

    def peak_gib(self) -> float:
        """Peak of allocated GPU memory since the last call, 0 on a CPU."""
        if self.world.device == "cpu":
            return 0.0
        peak = float(torch.cuda.max_memory_allocated()) / 2**30
        torch.cuda.reset_peak_memory_stats()
        return round(peak, 2)


class TimedSink:
    """The real writer, and the time at which each picture reached it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.times: list[float] = []
        self.images: Images = {}

    def put(self, batch: Sequence[Made]) -> None:
        self._sink.put(batch)
        self.times.extend([time.monotonic()] * len(batch))
        self.images |= {made.prompt.id: made.image for made in batch}

    def drain(self) -> None:
        self._sink.drain()

    def close(self) -> None:
        self._sink.close()


class Ours:
    """The worker without its supervisor."""

    def __init__(self, rank: Rank) -> None:
        self._rank = rank
        started = time.monotonic()
        setting, made = rank.setting, rank.new_job(0, 1)
        shapes = [Shape(pixels, pixels, setting.steps, 1000) for pixels in (setting.pixels, setting.big_pixels)]
        decided = choice.decide(made, rank.world, shapes)
        rank.say("decided", decided)
        self.engine: Any = choice.engine_for(made, rank.world, rank.control, decided)
        self.engine.load(lambda _part: None)
        rank.synchronize()
        self.load_seconds = round(time.monotonic() - started, 2)

    def run(self, start: int, count: int, pixels: int | None = None) -> tuple[list[float], Images]:
        """Intervals in seconds and pictures on rank 0, nothing elsewhere."""
        rank = self._rank
        made = rank.new_job(start, count, pixels)
        lane_dir = Path(made.prompts.path).parent
        leader, timed = None, None
        if rank.index == 0:
            ledger = open_lane(made, replica=0, lane=0, lanes=1, pod_uid="bench")
            timed = TimedSink(Sink(ledger, made, lambda line: print(line, flush=True)))

            def report(progress: LaneProgress, counts: Counts) -> None:
                handshake.say_progress(lane_dir, progress, counts)

            leader = loop.Leader(made, 0, ledger, timed, report, partial(handshake.say_claims, lane_dir))

        def pulse() -> None:
            handshake.beat(lane_dir, rank.index)
            if leader is not None:
                leader.beat()

        alive = Every(1.0, pulse, time.monotonic)
        rank.control.any(False)
        began = time.monotonic()
        outcome, counts = loop.run(self.engine, rank.control, leader, alive=alive, stop=partial(handshake.stop_asked, lane_dir))
        assert (outcome, counts.completed) == ("drained", count), (outcome, counts)
        return ([], {}) if timed is None else (intervals(began, timed.times), timed.images)


class Bare:
    """xDiT's wrapped pipeline on several ranks, diffusers' own on one. Has the weights of `ours`."""

    def __init__(self, rank: Rank, ours: Ours) -> None:
        from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline

        self._rank = rank
        loaded, directory = ours.engine.pipeline, rank.models / "flux"
        device, dtype = model.device_of(rank.world), getattr(torch, rank.setting.dtype)
        # ranks of ours that do not decode have no decoder
        vae = AutoencoderKL.from_pretrained(directory, subfolder="vae", torch_dtype=dtype).to(device)
        self.pipeline: Any = FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler.from_config(loaded.scheduler.config),
            transformer=_transformer(loaded.transformer, directory, device, dtype),
            vae=vae,
            **{name: getattr(loaded, name) for name in ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")},
        )
        self.pipeline.set_progress_bar_config(disable=True)
        self._states: tuple[Any, Any] | None = None
        if rank.world.size > 1:
            from xfuser.core.distributed import runtime_state
            from xfuser.model_executor.pipelines.register import xFuserPipelineWrapperRegister

            made, before = rank.new_job(0, 1), runtime_state._RUNTIME
            config = splitting.configuration(made, rank.world, ours.engine._attention)
            self.pipeline = xFuserPipelineWrapperRegister.get_class(self.pipeline)(pipeline=self.pipeline, engine_config=config)
            self._states = before, runtime_state._RUNTIME
            runtime_state._RUNTIME = before

    def run(self, start: int, count: int, pixels: int | None = None, steps: int | None = None) -> tuple[list[float], Images]:
        """Intervals in seconds and pictures on the last rank, nothing elsewhere."""
        rank = self._rank
        made = rank.new_job(start, count, pixels, steps)
        todo = [prompt for prompt in read_source(made) if isinstance(prompt, Prompt)]
        times: list[float] = []
        images: Images = {}
        self._enter(1)
        rank.control.any(False)
        began = time.monotonic()
        for prompt in todo:
            out = self.pipeline(
                prompt=prompt.prompt,
                height=prompt.height,
                width=prompt.width,
                num_inference_steps=prompt.steps,
                guidance_scale=prompt.guidance_scale,
                max_sequence_length=512,
                generator=torch.Generator("cpu").manual_seed(image_seed(made.defaults.seed, prompt, 0)),
                output_type="pil",
            )
            if out is not None:
                images[prompt.id] = np.asarray(out.images[0])
                times.append(time.monotonic())
        rank.synchronize()
        self._enter(0)
        return intervals(began, times), images

    def compile(self) -> None:
        """Each block by itself: as fast as the whole, and compiled in seconds."""
        # ours makes a recompilation too many an error; xfuser's blocks may have many
        torch._dynamo.config.fail_on_recompile_limit_hit = False
        for module in self.pipeline.transformer.modules():
            if type(module).__name__ in ("FluxTransformerBlock", "FluxSingleTransformerBlock"):
                module.compile(dynamic=False)

    def _enter(self, side: int) -> None:
        """xfuser has one state for the whole process: each side gets its own."""
        if self._states is not None:
            from xfuser.core.distributed import runtime_state

            runtime_state._RUNTIME = self._states[side]


def _transformer(loaded: Any, directory: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """diffusers' own, with the loaded one's weights where they have the same names, else from the disk."""
    from diffusers import FluxTransformer2DModel

    with torch.device("meta"):
        made = FluxTransformer2DModel.from_config(FluxTransformer2DModel.load_config(directory / "transformer"))
    state = loaded.state_dict()
    if state.keys() != made.state_dict().keys():
        return FluxTransformer2DModel.from_pretrained(directory, subfolder="transformer", torch_dtype=dtype).to(device)
    made.load_state_dict(state, assign=True)
    return made.eval().requires_grad_(False)


def intervals(began: float, times: list[float]) -> list[float]:
    return [round(b - a, 5) for a, b in zip([began, *times], times, strict=False)]


class Comparison:
    """The parts; each says what it found."""

    def __init__(self, rank: Rank, until: float, block: int, pairs: int) -> None:
        self.rank, self.until, self.block, self.pairs = rank, until, block, pairs
        self.ours = Ours(rank)
        rank.say("load_seconds", self.ours.load_seconds)
        rank.say("load_memory_gib", rank.peak_gib())
        self.bare = Bare(rank, self.ours)

    def ab(self) -> None:
        """Blocks in turn. What comes first in a process is made before: libraries choose kernels, graphs are captured."""
        rank, setting = self.rank, self.rank.setting
        size = self.block
        rank.say("bare_warm_up_seconds", self.bare.run(WARM_UP, 2, steps=4)[0])
        rank.peak_gib()
        rank.say("ours_warm_up_seconds", self.ours.run(WARM_UP, 2)[0])
        sides: dict[str, list[list[float]]] = {"bare": [], "ours": []}
        kept: dict[str, Images] = {"bare": {}, "ours": {}}
        memory: dict[str, float] = {}
        for pair in range(self.pairs):
            began = time.monotonic()
            for side, run in (("bare", self.bare.run), ("ours", self.ours.run)):
                rank.peak_gib()
                taken, images = run(pair * size, size)
                memory[side] = max(memory.get(side, 0.0), rank.peak_gib())
                sides[side].append(taken)
                kept[side] |= dict(list(images.items())[: setting.kept - len(kept[side])])
            rank.say("ab", sides)
            now = time.monotonic()
            short = now - BEGAN + now - began > self.until
            if rank.control.any(short):
                break
        rank.say("memory_gib", memory)
        for side, images in kept.items():
            if images:
                np.savez(rank.work / f"{rank.name}-{side}.npz", allow_pickle=False, **images)

    def big(self) -> None:
        """Large pictures."""
        rank, setting = self.rank, self.rank.setting
        self.bare.run(WARM_UP + 10, 1, setting.big_pixels, 3)
        bare = self.bare.run(500, setting.big, setting.big_pixels)[0]
        rank.say("big", {"bare": [bare], "ours": []})
        rank.peak_gib()
        self.ours.run(WARM_UP + 10, 1, setting.big_pixels)
        ours = self.ours.run(500, setting.big, setting.big_pixels)[0]
        rank.say("big", {"bare": [bare], "ours": [ours]})
        rank.say("big_memory_gib", rank.peak_gib())

    def compiled(self) -> None:
        """The bare pipeline with compiled blocks, what it is at its best."""
        rank = self.rank
        self.bare.compile()
        rank.say("bare_compiled_warm_up_seconds", self.bare.run(WARM_UP, 2, steps=4)[0])
        taken = self.bare.run(0, rank.setting.compiled)[0]
        rank.say("bare_compiled", taken)
        rank.say("ours_warm_up_seconds", self.ours.run(WARM_UP, 2)[0])
        rank.say("ours_beside_compiled", self.ours.run(0, rank.setting.compiled)[0])
        rank.say("bare_compiled", taken + self.bare.run(100, rank.setting.compiled)[0])

    def pieces(self) -> None:
        """Milliseconds of the parts of a picture of ours, one by one."""
        rank, engine = self.rank, self.ours.engine
        pixels, device = rank.setting.pixels, model.device_of(rank.world)
        dtype = getattr(torch, rank.setting.dtype)
        request = Request("a prompt that is in no cache", pixels, pixels, rank.setting.steps, 3.5, 1)
        picture = torch.rand(1, 3, pixels, pixels, device=device, dtype=dtype)
        channels, side = engine.pipeline.vae.config.latent_channels, pixels // engine.pipeline.vae_scale_factor
        latent = torch.randn(1, channels, side, side, device=device, dtype=dtype)
        message = {"kind": "draw", "requests": [{"prompt": request.prompt}]}
        embeddings = {}

        def encode() -> None:
            embeddings.update(engine._family.encode(engine.pipeline, request, device))

        def denoise() -> None:
            arguments = engine._family.arguments(engine.pipeline, [request], lambda *_: None) | {"output_type": "latent"}
            with attention.use(engine._attention):
                engine._split.run(engine.pipeline, [request], {**embeddings, **arguments})

        actions: dict[str, Callable[[], object]] = {
            "encode_text": encode,
            "denoise": denoise,
            "vae": lambda: engine.pipeline.vae.decode(latent, return_dict=False),
            "to_bytes": lambda: model.to_bytes(picture),
            "stop_vote": lambda: rank.control.any(False),
            "broadcast": lambda: rank.control.broadcast(message if rank.index == 0 else None),
            "generate": lambda: engine.generate([request], lambda *_: None),
        }
        found: dict[str, float | str] = {}
        for name, action in actions.items():
            found[f"{name}_ms"] = self.timed(action)
        rank.say("pieces", found)

    def timed(self, action: Callable[[], object], times: int = 6) -> float | str:
        """The median without the first; the error where it fails: the engine's insides change, the rest still tells something."""
        taken: list[float] = []
        failed = ""
        with torch.inference_mode():
            for _ in range(times):
                # every rank votes equally often, whatever happens to the action
                self.rank.control.any(False)
                self.rank.synchronize()
                started = time.monotonic()
                try:
                    action()
                except Exception as error:  # noqa: BLE001
                    failed = f"{type(error).__name__}: {error}"
                self.rank.synchronize()
                taken.append(1000 * (time.monotonic() - started))
        return failed or round(statistics.median(taken[1:]), 3)


def main() -> None:
    processes.die_with_parent()
    name, models, work, ulysses, parts, until, block, pairs = sys.argv[1:9]
    setting = TINY if "--tiny" in sys.argv else GPU
    rank = Rank(name, setting, Path(models), Path(work), int(ulysses))
    comparison = Comparison(rank, float(until), int(block), int(pairs))
    for part in parts.split(","):
        getattr(comparison, part)()
        rank.say("finished", part)
    rank.control.any(False)
    os._exit(0)


if __name__ == "__main__":
    main()
