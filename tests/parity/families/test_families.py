"""Every family on one rank is diffusers to the bit, and in every mode that it has it draws the same pictures."""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.parity.families.every import TABLE
from tests.parity.families.table import WARM

# the first test pays for all pictures: 8.5 minutes on two idle cores
pytestmark = pytest.mark.timeout(1600)
Levels = npt.NDArray[np.int16]
ROOT = Path(__file__).parents[3]
MODES = [(family, mode) for family, case in TABLE.items() for mode in case.modes()]
SYNCHRONOUS = [(family, mode) for family, mode in MODES if "pipefusion" in mode]
ALONGSIDE = [(family, mode) for family, mode in SYNCHRONOUS if "-" in mode and (family, mode.split("-")[-1]) in MODES]
"""PipeFusion with other degrees, where it is also run alone."""
EXACT = [(family, mode) for family, mode in MODES if "pipefusion" not in mode]


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where modes.py wrote all pictures."""
    directory = tmp_path_factory.mktemp("families")
    with (directory / "log").open("w") as log:
        subprocess.run(
            [sys.executable, "-m", "tests.parity.families.modes", str(directory)],
            stdout=log,
            stderr=log,
            check=True,
            timeout=1500,
            cwd=ROOT,
        )
    yield directory
    _load.cache_clear()


@cache
def _load(directory: Path, family: str, mode: str) -> dict[str, Levels]:
    problem = directory / family / f"{mode}.txt"
    assert not problem.exists(), problem.read_text()[-6000:]
    return {name: levels.astype(np.int16) for name, levels in np.load(directory / family / f"{mode}.npz").items()}


def distance(a: Levels, b: Levels) -> Levels:
    off: Levels = np.abs(a - b)
    return off


def same(made: Levels, expected: Levels, what: str) -> None:
    off = distance(made, expected)
    assert off.max() <= 1, f"{what}: {off.max()} levels"
    # rounding of a value that lies between two levels, not a shift of the whole picture
    assert (off > 0).mean() < 0.005, f"{what}: {(off > 0).mean():.2%} of the values differ"


@pytest.mark.parametrize("family", TABLE)
def test_one_rank_is_diffusers_to_the_bit(out: Path, family: str) -> None:
    ours, theirs = _load(out, family, "one"), _load(out, family, "diffusers")
    for name, expected in theirs.items():
        assert np.array_equal(ours[name], expected), name


@pytest.mark.parametrize("family", TABLE)
def test_pictures_answer_to_all_that_they_are_asked(out: Path, family: str) -> None:
    """Else the other tests would prove nothing."""
    case, ours = TABLE[family], _load(out, family, "one")
    wanted = {"letter": case.letter, "seed": case.seed}
    if case.negative:
        wanted |= {"negative": 2, "unguided": 2}
    for name, least in wanted.items():
        assert distance(ours["boat"], ours[name]).mean() > least, name
    assert (ours["boat"] == 255).mean() + (ours["boat"] == 0).mean() < 0.5


@pytest.mark.parametrize(("family", "mode"), EXACT)
def test_exact_modes_are_within_one_level(out: Path, family: str, mode: str) -> None:
    made = _load(out, family, mode)
    for name, expected in _load(out, family, "one").items():
        same(made[name], expected, name)


@pytest.mark.parametrize(("family", "mode"), SYNCHRONOUS)
def test_synchronous_pipefusion_is_exact(out: Path, family: str, mode: str) -> None:
    made = _load(out, family, mode)
    for name, expected in _load(out, family, "one").items():
        if "~" not in name:
            same(made[name + WARM], expected, name)


@pytest.mark.parametrize(("family", "mode"), SYNCHRONOUS)
def test_pipefusion_is_deterministic_and_draws_what_was_asked(out: Path, family: str, mode: str) -> None:
    case, made, one = TABLE[family], _load(out, family, mode), _load(out, family, "one")
    assert np.array_equal(made["last"], made["boat"])
    for name in case.batch():
        same(made[f"{name}~batch"], made[name], f"{name} in a batch")
    for name in ("letter", "seed", *(["unguided", "negative"] if case.negative else [])):
        # not equal to one rank, but not anything else either: as far from each other as on one rank
        assert distance(made["boat"], made[name]).mean() > 0.5 * distance(one["boat"], one[name]).mean(), name


@pytest.mark.parametrize(("family", "mode"), ALONGSIDE)
def test_other_degrees_do_not_change_what_pipefusion_draws(out: Path, family: str, mode: str) -> None:
    made, alone = _load(out, family, mode), _load(out, family, mode.split("-")[-1])
    for name, expected in alone.items():
        same(made[name], expected, name)


@pytest.mark.parametrize("family", [family for family, mode in MODES if mode.endswith("-whole")])
def test_pipefusion_of_one_patch_is_exact(out: Path, family: str) -> None:
    made = _load(out, family, "pipefusion2-whole")
    for name, expected in _load(out, family, "one").items():
        same(made[name], expected, name)


@pytest.mark.parametrize(("family", "mode"), [(family, "one") for family in TABLE] + MODES)
def test_a_request_leaves_nothing_behind(out: Path, family: str, mode: str) -> None:
    made = _load(out, family, mode)
    assert np.array_equal(made["boat"], made["again"])


@pytest.mark.parametrize("family", TABLE)
def test_a_batch_is_its_pictures(out: Path, family: str) -> None:
    made = _load(out, family, "one")
    for name in TABLE[family].batch():
        same(made[f"{name}~batch"], made[name], name)
