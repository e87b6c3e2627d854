"""What is measured: the size of everything, on GPUs and for the dry run on a CPU."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from xdit_api import API_VERSION
from xdit_api.job import Degrees, Job, JobModel, JobOutput, JobPrompts
from xdit_api.spec import Defaults, Engine
from xdit_runtime.engine.options import unsupported


@dataclass(frozen=True)
class Setting:
    device: Literal["cuda", "cpu"]
    dtype: Literal["bfloat16", "float32"]
    compile: Literal["Always", "Never"]
    wide: int
    """GPUs of the widest comparison; lanes of the lanes phase."""
    pixels: int
    big_pixels: int
    small_pixels: int
    steps: int
    mode_steps: int
    block: int
    """Images of a block of the widest comparison; each side has two blocks."""
    small_block: int
    """Images of a block with fewer GPUs, where an image takes longer."""
    small_pairs: int
    """Most pairs of such blocks; fewer when time is short."""
    big: int
    """Images a side of `big_pixels`."""
    compiled: int
    """Images of the compiled bare pipeline."""
    lane_images: int
    single_images: int
    batches: tuple[int, ...]
    kept: int
    """Pictures of a side whose levels are compared."""


GPU = Setting("cuda", "bfloat16", "Always", 4, 1024, 2048, 512, 28, 8, 20, 5, 4, 3, 8, 10, 8, (1, 4, 8), 6)
TINY = Setting("cpu", "float32", "Never", 2, 64, 128, 64, 3, 3, 2, 1, 2, 1, 1, 5, 5, (1, 2), 2)

_COLOURS = ("red", "pale blue", "golden", "moss green", "black", "ivory")
_THINGS = ("sailing boat on a calm sea", "railway station at night", "bowl of cherries on a table", "fox in deep snow")


def prompts(start: int, count: int) -> list[dict[str, str]]:
    """All different, so that no text embedding comes from a cache."""
    return [
        {"id": f"p{n:03}", "prompt": f"A {_COLOURS[n % 6]} {_THINGS[n % 4]}, study number {n}, soft light, fine detail, 35 mm"}
        for n in range(start, start + count)
    ]


def job(
    setting: Setting,
    model: Path,
    directory: Path,
    degrees: Degrees,
    start: int = 0,
    count: int = 1,
    pixels: int | None = None,
    steps: int | None = None,
) -> Job:
    """A job with its prompt file and output in `directory`, which is made. Compiled where this version can."""
    directory.mkdir(parents=True)
    path = directory / "prompts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in prompts(start, count)))
    gpus = degrees.lanes * degrees.world_size
    size = pixels or setting.pixels
    made = Job(
        api_version=API_VERSION,
        name="bench",
        uid="be000000-0000",
        device=setting.device,
        gpus=gpus,
        gpus_per_pod=gpus,
        degrees=degrees,
        model=JobModel(id="black-forest-labs/FLUX.1-dev", path=str(model), dtype=setting.dtype),
        prompts=JobPrompts(path=str(path), format="jsonl"),
        output=JobOutput(path=str(directory / "out")),
        defaults=Defaults(width=size, height=size, steps=steps or setting.steps),
        engine=Engine(compile=setting.compile),
    )
    return made.model_copy(update={"engine": Engine()}) if unsupported(made) else made


def on(gpus: int, tiny: bool) -> Setting:
    """The setting for a machine with that many GPUs, or for none."""
    return TINY if tiny else replace(GPU, wide=gpus)
