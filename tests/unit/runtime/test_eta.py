"""When the job will be done."""

from xdit_runtime.eta import Pace, seconds_left


def test_the_pace_is_that_between_changes_not_that_of_the_start() -> None:
    pace = Pace()
    for now, completed in [(0, 100), (40, 100), (50, 101), (52, 101), (60, 105), (70, 111)]:
        pace = pace.saw(now, completed)
    assert pace.seconds == 2.0
    assert seconds_left(89, pace, []) == 178


def test_old_changes_are_forgotten() -> None:
    pace = Pace()
    for now, completed in [(0, 0), (1, 1), (1000, 2), (1004, 3)]:
        pace = pace.saw(now, completed)
    assert pace.seconds == 4.0


def test_before_there_are_two_changes_the_lanes_are_asked() -> None:
    pace = Pace().saw(0, 0).saw(9, 1)
    assert seconds_left(10, pace, [2.0, None, 2.0]) == 10
    assert seconds_left(10, pace, [None]) is None
    assert seconds_left(0, pace, []) == 0


def test_counts_that_go_back_start_again() -> None:
    assert Pace().saw(0, 5).saw(1, 6).saw(2, 3) == Pace((), 3)
