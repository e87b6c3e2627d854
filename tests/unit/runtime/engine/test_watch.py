import time
from itertools import chain, repeat
from pathlib import Path

import pytest

from xdit_runtime.engine.watch import GRAIN, activity, while_active


def test_reading_a_file_is_activity(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(8 * GRAIN))
    before = activity()
    (tmp_path / "weights").read_bytes()
    assert activity() - before >= 8 * GRAIN


def test_filling_memory_is_activity() -> None:
    before = activity()
    filled = bytearray(b"x") * (64 * GRAIN)
    assert activity() - before >= 32 * GRAIN
    del filled


@pytest.mark.parametrize(("values", "expected"), [([0, GRAIN, 2 * GRAIN], 2), ([0, 10, 20], 0), ([5 * GRAIN, 0], 1)])
def test_beats_only_when_something_moves(values: list[int], expected: int) -> None:
    measured = chain(values, repeat(values[-1]))
    beats: list[None] = []
    with while_active(lambda: beats.append(None), interval=0.005, measure=lambda: next(measured)):
        time.sleep(0.2)
    assert len(beats) == expected


def test_an_error_inside_comes_out() -> None:
    with pytest.raises(ValueError, match="bad model"), while_active(lambda: None, interval=0.001):
        raise ValueError("bad model")
