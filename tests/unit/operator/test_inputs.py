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


def test_every_format_that_a_key_may_have_is_read() -> None:
    assert check("c", "csv", "prompt,images\nx,2\n", spec()).total == 2
    assert check("c", "json", '[{"prompt": "x"}, {"prompt": "y"}]', spec()).total == 2


def test_skip_goes_on_with_the_good_lines() -> None:
    skipping = spec(prompts={"configMap": {"name": "p", "key": "k.jsonl"}, "policy": "Skip"})
    text = '{"prompt": "x", "images": 2}\nnope\n{"prompt": "y", "id": "000001"}\n'
    found = check("c", "jsonl", text, skipping)
    assert (found.problem, found.total) == (None, 2)
    for nothing_left in ("nope\n", ""):
        problem = check("c", "jsonl", nothing_left, skipping).problem
        assert problem is not None
        assert problem.reason == "InvalidPrompts"
    unread = check("c", "csv", 'prompt\nx\n"y\n', skipping).problem
    assert unread is not None
    assert "line 3: a quote of this row is not closed" in unread.message


def test_input_images_need_a_volume() -> None:
    found = check("c", "jsonl", '{"prompt": "x", "image": "a.png"}', spec())
    assert found.problem is not None
    assert found.problem.message == (
        "c: 1 bad line\nline 1: image: a ConfigMap holds no images: put the prompt file and its images on a claim and "
        "use spec.prompts.volume"
    )


def test_prompts_choose_among_the_loras_of_the_spec() -> None:
    model = {"id": "m", "source": {"pvc": {"claimName": "c"}}, "loras": [{"name": "ink", "path": "i.safetensors"}]}
    text = '{"prompt": "x", "loras": ["ink"]}\n{"prompt": "y", "loras": ["red"]}\n'
    found = check("c", "jsonl", text, spec(model=model))
    assert found.problem is not None
    assert found.problem.message == 'c: 1 bad line\nline 2: loras: "red" is not in spec.model.loras: it has ink'
