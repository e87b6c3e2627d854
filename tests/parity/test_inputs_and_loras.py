"""Input pictures that are redrawn, and LoRAs chosen prompt by prompt: what they change, and that they leave nothing behind."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

Pictures = dict[str, npt.NDArray[np.int16]]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pictures]:
    """model-mode → request → H x W x 3 levels."""
    out = tmp_path_factory.mktemp("inputs-and-loras")
    command = [sys.executable, "-m", "tests.parity.inputs_and_loras", str(out)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return {path.stem: {name: levels.astype(np.int16) for name, levels in np.load(path).items()} for path in out.glob("*.npz")}


def apart(a: npt.NDArray[np.int16], b: npt.NDArray[np.int16]) -> float:
    return float(np.abs(a - b).mean())


@pytest.mark.parametrize("model", ["flux-one", "sd3-one", "sdxl-one"])
def test_a_redrawn_picture_answers_to_its_input_and_strength(pictures: dict[str, Pictures], model: str) -> None:
    made = pictures[model]
    names = ("drawn", "half", "most", "squares")
    for index, name in enumerate(names):
        for other in names[:index]:
            assert apart(made[name], made[other]) > 5, (name, other)
    assert np.array_equal(made["drawn"], made["drawn-again"])


def test_two_ranks_redraw_and_adapt_as_one_does(pictures: dict[str, Pictures]) -> None:
    for name, expected in pictures["flux-one"].items():
        assert np.abs(pictures["flux-ulysses2"][name] - expected).max() <= 1, name


@pytest.mark.parametrize("model", ["flux-one", "flux-ulysses2"])
def test_loras_of_one_prompt_do_not_reach_the_next(pictures: dict[str, Pictures], model: str) -> None:
    made = pictures[model]
    assert np.array_equal(made["ink"], made["ink-again"])  # with the other one in between
    assert np.array_equal(made["without"], made["drawn"])
    assert np.array_equal(made["nothing"], made["drawn"])  # scale 0
    names = ("drawn", "own", "ink", "oil", "both", "half", "redrawn")
    for index, name in enumerate(names):
        for other in names[:index]:
            assert apart(made[name], made[other]) > 2, (name, other)
