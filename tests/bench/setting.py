"""What is measured: the size of everything, on GPUs and for the dry run on a CPU."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xdit_api.job import Degrees, Job, JobModel, JobOutput, JobPrompts
from xdit_api.spec import Defaults


@dataclass(frozen=True)
class Setting:
    device: Literal["cuda", "cpu"]
    dtype: Literal["bfloat16", "float32"]
    pixels: int
    steps: int
    block: int
    """Images of one block; each side has two."""
    supervised: int
    """Images of a run under the supervisor."""


GPU = Setting("cuda", "bfloat16", 1024, 28, 6, 8)
TINY = Setting("cpu", "float32", 128, 4, 6, 4)

_COLOURS = ("red", "pale blue", "golden", "moss green", "black", "ivory")
_THINGS = ("sailing boat on a calm sea", "railway station at night", "bowl of cherries on a table", "fox in deep snow")


def prompts(start: int, count: int) -> list[dict[str, str]]:
    """All different, so that no text embedding comes from a cache."""
    return [
        {"id": f"p{n:03}", "prompt": f"A {_COLOURS[n % 6]} {_THINGS[n % 4]}, study number {n}, soft light, fine detail, 35 mm"}
        for n in range(start, start + count)
    ]


def job(setting: Setting, model: Path, directory: Path, start: int, count: int, ulysses: int) -> Job:
    """A job with its prompt file and output in `directory`, which is made."""
    directory.mkdir(parents=True)
    path = directory / "prompts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in prompts(start, count)))
    return Job(
        api_version="xdit.dev/v1alpha1",
        name="bench",
        uid="be000000-0000",
        device=setting.device,
        gpus=ulysses,
        gpus_per_pod=ulysses,
        degrees=Degrees(ulysses=ulysses),
        model=JobModel(id="black-forest-labs/FLUX.1-dev", path=str(model), dtype=setting.dtype),
        prompts=JobPrompts(path=str(path), format="jsonl"),
        output=JobOutput(path=str(directory / "out")),
        defaults=Defaults(width=setting.pixels, height=setting.pixels, steps=setting.steps),
    )
