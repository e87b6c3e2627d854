"""Quantisation, step caches and offload on small models: what changes a picture changes it a little, the rest nothing."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.parity.lossy_cases import CASES

Made = dict[str, npt.NDArray[Any]]
LOSSY = [name for name, case in CASES.items() if not case.twice]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """case → request → H x W x 3 levels, and calls of the last block."""
    out = tmp_path_factory.mktemp("lossy")
    done = subprocess.run(
        [sys.executable, "-m", "tests.parity.lossy", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return {path.stem: dict(np.load(path)) for path in out.glob("*.npz")}


def off(a: Made, b: Made, request: str = "boat") -> npt.NDArray[np.int16]:
    return np.abs(a[request].astype(np.int16) - b[request].astype(np.int16))


@pytest.mark.parametrize("name", LOSSY)
def test_a_picture_is_the_same_again_after_another_one(made: dict[str, Made], name: str) -> None:
    assert np.array_equal(made[name]["boat"], made[name]["again"])
    assert not np.array_equal(made[name]["boat"], made[name]["cats"])


@pytest.mark.parametrize("name", ["int8", "ulysses2-int8"])
def test_int8_is_close(made: dict[str, Made], name: str) -> None:
    for request in ("boat", "cats"):
        mean = off(made[name], made["exact"], request).mean()
        assert 0.01 < mean < 10, mean


def test_int8_is_the_same_on_two_ranks_but_for_rounding(made: dict[str, Made]) -> None:
    assert off(made["ulysses2-int8"], made["int8"]).mean() < 1


def test_int8_with_pipefusion(made: dict[str, Made]) -> None:
    assert 0.01 < off(made["sd3-pipefusion2-int8"], made["sd3-exact"]).mean() < 10


@pytest.mark.parametrize("name", ["fbcache", "teacache", "ulysses2-fbcache"])
def test_a_cache_leaves_steps_out(made: dict[str, Made], name: str) -> None:
    assert made["exact"]["calls"].tolist() == [6, 5, 6]
    assert 1 <= made[name]["calls"].max() < 5
    assert 0.01 < off(made[name], made["exact"]).mean() < 30


def test_ranks_agree_on_what_is_left_out(made: dict[str, Made]) -> None:
    assert made["ulysses2-fbcache"]["calls"].tolist() == made["fbcache"]["calls"].tolist()
    assert off(made["ulysses2-fbcache"], made["fbcache"]).max() <= 1


def test_a_cache_that_never_fits_changes_nothing(made: dict[str, Made]) -> None:
    assert made["fbcache-never"]["calls"].tolist() == [6, 5, 6]
    assert off(made["fbcache-never"], made["exact"]).max() == 0


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.twice])
def test_what_is_left_out_when_nothing_changed_is_what_was_computed(made: dict[str, Made], name: str) -> None:
    assert made[name]["twice"] < 1e-5


@pytest.mark.parametrize("name", ["text-encoder", "model"])
def test_offload_changes_nothing(made: dict[str, Made], name: str) -> None:
    for request in ("boat", "cats"):
        assert off(made[name], made["exact"], request).max() == 0


def test_offload_on_two_ranks(made: dict[str, Made]) -> None:
    for request in ("boat", "cats"):
        assert off(made["ulysses2-text-encoder"], made["exact"], request).max() <= 1
