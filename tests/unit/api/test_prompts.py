"""Prompt files: what is read, what is refused and in which words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdit_api.prompts import MAX_PROBLEMS, Problem, Prompt, check, image_names, image_seed, inline_jsonl, parse, summary
from xdit_api.spec import Defaults, InlinePrompt

DEFAULTS = Defaults(width=512, height=512, steps=4, seed=1)


def one(line: str) -> Prompt:
    prompts, problems = check("jsonl", [line], DEFAULTS)
    assert problems == []
    return prompts[0]


def test_a_line_takes_what_it_does_not_say_from_the_defaults() -> None:
    prompt = one('{"id": "cat", "prompt": "a cat", "steps": 9, "mood": "calm"}')
    assert prompt == Prompt(0, "cat", "a cat", "", None, 512, 512, 9, 3.5, 1, '{"mood": "calm"}')


def test_zero_and_empty_are_values_not_absence() -> None:
    prompt = one('{"prompt": "x", "guidance_scale": 0, "seed": 0, "negative_prompt": ""}')
    assert (prompt.guidance_scale, prompt.seed, prompt.negative_prompt) == (0, 0, "")


def test_txt_has_one_prompt_a_line_and_ids_are_line_numbers() -> None:
    prompts, problems = check("txt", ["\ufeffa cat\r\n", "\n", '{"a": 1}\n'], DEFAULTS)
    assert problems == []
    assert [(p.index, p.id, p.prompt) for p in prompts] == [(0, "000001", "a cat"), (1, "000003", '{"a": 1}')]


BAD = [
    ('{"id": "a"', "line 1: not JSON: Expecting ',' delimiter at column 11"),
    ("[1]", 'line 1: must be a JSON object such as {"id": "cat", "prompt": "a cat"}, not a list'),
    ('{"id": "a"}', "line 1: 'prompt' is missing"),
    ('{"prompt": "  "}', "line 1: prompt is empty"),
    ('{"prompt": 3}', "line 1: prompt: input should be a valid string, not 3"),
    ('{"prompt": "x", "width": 1000}', "line 1: width: input should be a multiple of 16, not 1000"),
    ('{"prompt": "x", "steps": "9"}', 'line 1: steps: input should be a valid integer, not "9"'),
    ('{"prompt": "x", "images": 65}', "line 1: images: input should be less than or equal to 64, not 65"),
    ('{"prompt": "x", "seed": -1}', "line 1: seed: input should be greater than or equal to 0, not -1"),
    ('{"prompt": "x", "id": "../a"}', "line 1: id '../a' must be 1 to 128 letters, digits, '-' or '_'"),
    ('{"prompt": "x", "id": "a\\n"}', "line 1: id 'a\\n' must be 1 to 128 letters, digits, '-' or '_'"),
    ("", "line 1: no prompts: the file is empty"),
]


@pytest.mark.parametrize(("line", "says"), BAD)
def test_a_bad_line_says_where_and_what(line: str, says: str) -> None:
    prompts, problems = check("jsonl", [line], DEFAULTS)
    assert (prompts, [str(p) for p in problems]) == ([], [says])


def test_ids_that_differ_only_by_case_would_be_one_file_somewhere() -> None:
    _, problems = check("jsonl", ['{"id": "Cat", "prompt": "x"}', '{"id": "cAT", "prompt": "y"}'], DEFAULTS)
    assert [str(p) for p in problems] == ["line 2: id 'cAT' is used on line 1 already (ids differ by more than case)"]


def test_every_bad_line_is_reported_and_good_ones_go_on() -> None:
    items = list(parse("jsonl", ["{", '{"prompt": "x"}', "["], DEFAULTS))
    assert [type(i) for i in items] == [Problem, Prompt, Problem]


def test_summary_shows_the_first_problems_and_counts_the_rest() -> None:
    text = summary("prompts.jsonl", [Problem(n, "no") for n in range(1, MAX_PROBLEMS + 4)])
    assert text.startswith("prompts.jsonl: 23 bad lines\nline 1: no\n")
    assert text.endswith("line 20: no\n… and 3 more")


def test_seed_depends_on_job_seed_id_and_k_alone() -> None:
    # a changed formula would silently change every picture of a resumed job
    assert image_seed(42, one('{"id": "cat", "prompt": "x"}'), 0) == 5115360717801429786
    seeds = {image_seed(job, one(f'{{"id": "{i}", "prompt": "x"}}'), k) for job in (1, 2) for i in ("a", "b") for k in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert image_seed(1, one('{"id": "a", "prompt": "x", "width": 1024}'), 0) == image_seed(
        1, one('{"id": "a", "prompt": "y"}'), 0
    )


def test_own_seed_counts_up() -> None:
    prompt = one('{"id": "a", "prompt": "x", "seed": 7, "images": 3}')
    assert [image_seed(1, prompt, k) for k in range(3)] == [7, 8, 9]
    assert image_names(prompt) == ["a.0", "a.1", "a.2"]


@given(st.lists(st.text(), max_size=30))
def test_no_text_breaks_the_reader(lines: list[str]) -> None:
    for item in parse("jsonl", lines, DEFAULTS):
        assert isinstance(item, Prompt | Problem)


@given(
    st.builds(
        InlinePrompt,
        id=st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True),
        prompt=st.text(min_size=1, max_size=50).filter(lambda t: t.strip() != ""),
        steps=st.none() | st.integers(1, 500),
    )
)
def test_inline_prompts_are_read_back_as_they_were_written(inline: InlinePrompt) -> None:
    prompts, problems = check("jsonl", inline_jsonl([inline]).split("\n"), DEFAULTS)
    assert problems == []
    assert (prompts[0].id, prompts[0].prompt, prompts[0].steps) == (inline.id, inline.prompt, inline.steps or DEFAULTS.steps)
