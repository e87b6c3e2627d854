"""Prompts that the API shows are checked before any pod exists."""

import pytest

from tests.unit.operator.world import spec
from xdit_operator.inputs import check


def test_good_prompts_give_sizes_and_the_number_of_images() -> None:
    lines = '{"id": "a", "prompt": "x"}\n{"id": "b", "prompt": "y", "width": 512, "images": 3}\n\n'
    found = check("spec", "jsonl", lines, spec(defaults={"imagesPerPrompt": 2}))
    assert (found.problem, found.total) == (None, 5)
    assert found.sizes == {(1024, 1024), (512, 1024)}


def test_bad_lines_are_all_named() -> None:
    found = check("ConfigMap p, key k", "jsonl", '{"prompt": "x"}\nnope\n{"prompt": ""}\n', spec())
    assert found.problem is not None
    assert (found.problem.reason, found.problem.waiting, found.problem.retry_after) == ("InvalidPrompts", False, 15)
    assert found.problem.message.startswith("ConfigMap p, key k: 2 bad lines\nline 2: not JSON")
    assert "line 3: prompt is empty" in found.problem.message


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_a_newline_ends_a_line(separator: str) -> None:
    found = check("c", "txt", f"one{separator}two\nthree\r\n", spec())
    assert (found.problem, found.total) == (None, 2)


def test_an_empty_file_is_no_job() -> None:
    assert check("c", "txt", "\n\n", spec()).problem is not None
