"""Texts of bounded length and durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdit_operator import clock
from xdit_operator.text import cut, duration


@given(st.text(), st.integers(4, 50))
def test_cut_is_bounded_in_bytes_and_a_prefix(text: str, limit: int) -> None:
    made = cut(text, limit)
    assert len(made.encode()) <= limit
    assert made == text or text.startswith(made.removesuffix("…"))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0s"), (59, "59s"), (60, "1m0s"), (358, "5m58s"), (7500, "2h5m"), (273600, "3d4h")]
)
def test_duration(seconds: int, shown: str) -> None:
    assert duration(seconds) == shown


def test_times_survive_the_round_trip() -> None:
    assert clock.write(clock.read("2026-11-21T10:00:00Z") or clock.now()) == "2026-11-21T10:00:00Z"
    assert clock.read("") is None
    assert clock.read("yesterday") is None
