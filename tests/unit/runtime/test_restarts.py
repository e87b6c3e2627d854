"""Which failures a lane is started again after, when, and how often."""

import pytest

from xdit_api.report import Exit
from xdit_runtime.restarts import Record, after, may_help, wait

Failure = tuple[Exit, int, list[str]]


def waits(record: Record, *failures: Failure) -> list[float | None]:
    """Seconds before each next life. failures: (exit, images of the life, claims it died of)."""
    out = []
    for exit, made, claims in failures:
        record = after(record, exit, made, claims)
        out.append(wait(record, 3, 1))
    return out


def test_the_waits_double_and_end_after_three_restarts() -> None:
    assert waits(Record(), *[(Exit.WORKER_FAILED, 0, [])] * 4) == [1, 2, 4, None]


def test_an_image_gives_the_whole_budget_back() -> None:
    bad: Failure = (Exit.WORKER_FAILED, 0, [])
    good: Failure = (Exit.WORKER_FAILED, 5, [])
    assert waits(Record(), bad, bad, bad, good, bad, bad, bad) == [1, 2, 4, 1, 2, 4, None]


def test_images_do_not_excuse_a_broken_gpu() -> None:
    assert waits(Record(), *[(Exit.CUDA_ERROR, 9, [])] * 4) == [1, 1, 1, None]


def test_a_prompt_that_failed_for_it_costs_the_lane_nothing() -> None:
    """Any number of poisonous prompts, one after the other, each of which takes two lives."""
    failures = [(Exit.WORKER_FAILED, 0, [f"p{n}.{life}"]) for n in range(10) for life in (1, 2)]
    assert waits(Record(), *failures) == [1, 1] * 10


def test_crashes_of_different_prompts_are_the_lanes_own() -> None:
    failures = [(Exit.WORKER_FAILED, 0, [f"p{n}.1"]) for n in range(4)]
    assert waits(Record(), *failures) == [1, 2, 4, None]


@pytest.mark.parametrize("exit", list(Exit))
def test_only_what_can_be_better_in_a_new_life_is_tried(exit: Exit) -> None:
    again = {Exit.OK, Exit.WORKER_FAILED, Exit.PEER_LOST, Exit.OUT_OF_MEMORY, Exit.PEERS_UNREACHABLE, Exit.CUDA_ERROR,
             Exit.NCCL_ERROR}  # fmt: skip
    assert may_help(exit) == (exit in again)
