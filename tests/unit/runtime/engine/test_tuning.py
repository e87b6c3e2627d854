import json
from typing import Literal

import pytest

from xdit_api.job import Degrees, Job, JobModel, JobOutput, JobPrompts
from xdit_api.spec import Engine
from xdit_runtime.engine.tuning import MOST_SHAPES, Tuning, decide
from xdit_runtime.prompts.frozen import Shape

FLUX = 12e9


def job(
    compile: Literal["Auto", "Always", "Never"] = "Auto", device: Literal["cuda", "cpu"] = "cuda", degrees: Degrees | None = None
) -> Job:
    degrees = degrees or Degrees()
    return Job(
        api_version="xdit.dev/v1alpha1",
        name="tuning",
        uid="0",
        device=device,
        gpus=degrees.world_size * degrees.lanes,
        gpus_per_pod=degrees.world_size * degrees.lanes,
        degrees=degrees,
        model=JobModel(id="x/y", path="/none"),
        prompts=JobPrompts(path="/none", format="jsonl"),
        output=JobOutput(path="/none"),
        engine=Engine(compile=compile),
    )


@pytest.mark.parametrize(
    ("images", "degrees", "compiled"),
    [
        (30, Degrees(), False),
        (60, Degrees(), True),
        (60, Degrees(ulysses=4), False),
        (400, Degrees(ulysses=4), True),
        (200, Degrees(lanes=8), False),
        (400, Degrees(lanes=8), True),
    ],
)
def test_compiles_when_the_pictures_of_a_lane_win_the_time_back(images: int, degrees: Degrees, compiled: bool) -> None:
    shapes = [Shape(1024, 1024, 28, images)]
    found = decide(job(degrees=degrees), shapes, parameters=FLUX, capability=(9, 0))
    assert found.compiled == (frozenset({(1024, 1024)}) if compiled else frozenset())


def test_a_small_model_is_never_worth_it() -> None:
    assert decide(job(), [Shape(1024, 1024, 28, 1000)], parameters=1e6, capability=(9, 0)).compiled == frozenset()


@pytest.mark.parametrize(
    ("wanted", "device", "count"), [("Always", "cuda", 1), ("Always", "cpu", 1), ("Never", "cuda", 0), ("Auto", "cpu", 0)]
)
def test_the_user_decides(wanted: Literal["Auto", "Always", "Never"], device: Literal["cuda", "cpu"], count: int) -> None:
    found = decide(job(wanted, device), [Shape(1024, 1024, 28, 10**6)], parameters=FLUX, capability=(9, 0))
    assert len(found.compiled) == count


def test_only_the_most_frequent_sizes_are_compiled_and_captured() -> None:
    shapes = [Shape(512 + 16 * n, 512, 28, 100 + n) for n in range(9)] + [Shape(512, 512, 20, 50)]
    found = decide(job("Always"), shapes, parameters=FLUX, capability=(9, 0))
    # 512 x 512 counts 150 in two numbers of steps, the smallest of the others goes
    assert found.compiled == {(512, 512), *((512 + 16 * n, 512) for n in range(4, 9))}
    assert len(found.compiled) == MOST_SHAPES
    assert found.captured == found.compiled


def test_few_pictures_are_not_captured() -> None:
    shapes = [Shape(512, 512, 28, 3), Shape(1024, 1024, 28, 4)]
    assert decide(job(), shapes, parameters=FLUX, capability=(9, 0)).captured == {(1024, 1024)}


@pytest.mark.parametrize(
    ("parameters", "size", "degrees", "count"),
    [
        (FLUX, (512, 512), Degrees(), 1),
        (FLUX, (256, 256), Degrees(), 4),
        (FLUX, (512, 512), Degrees(ulysses=4), 4),
        (2e9, (512, 512), Degrees(), 6),
        (6e8, (512, 512), Degrees(), 8),
        (6e8, (1024, 512), Degrees(), 1),
    ],
)
def test_small_pictures_are_drawn_together_on_gpus(
    parameters: float, size: tuple[int, int], degrees: Degrees, count: int
) -> None:
    shapes = [Shape(*size, 28, 100)]
    assert decide(job(degrees=degrees), shapes, parameters=parameters, capability=(9, 0)).batch(*size) == count
    assert decide(job(device="cpu", degrees=degrees), shapes, parameters=parameters, capability=(0, 0)).batch(*size) == 1


def test_a_batch_has_no_more_pictures_than_there_are() -> None:
    assert decide(job(), [Shape(256, 256, 28, 3)], parameters=6e8, capability=(9, 0)).batch(256, 256) == 3
    assert Tuning().batch(256, 256) == 1


def test_the_file_gives_the_decisions_back() -> None:
    found = decide(job("Always"), [Shape(640, 512, 28, 9)], parameters=FLUX, capability=(9, 0))
    assert Tuning.of(json.loads(json.dumps(found.dump()))) == found


@pytest.mark.parametrize(
    ("engine", "batches"), [(Engine(cache="FBCache"), False), (Engine(offload="Model"), True), (Engine(quantization="FP8"), True)]
)
def test_what_may_be_left_out_or_moved_is_not_compiled(engine: Engine, batches: bool) -> None:
    lossy = job().model_copy(update={"engine": engine})
    found = decide(lossy, [Shape(1024, 1024, 28, 10**6), Shape(256, 256, 28, 100)], parameters=FLUX, capability=(9, 0))
    assert bool(found.compiled) == (engine.quantization != "None")
    assert (found.batch(256, 256) > 1) == batches
