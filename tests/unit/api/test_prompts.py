"""One record of a prompt file: what it may hold, what is refused and in which words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.api.prompt_files import SETTING, one, said
from xdit_api.prompts import MAX_PROBLEMS, Problem, Prompt, Setting, check, image_names, image_seed, inline_jsonl, summary
from xdit_api.spec import InlinePrompt, LoraChoice


def test_a_line_takes_what_it_does_not_say_from_the_defaults() -> None:
    prompt = one('{"id": "cat", "prompt": "a cat", "steps": 9, "mood": "calm"}')
    assert prompt == Prompt(0, "cat", "a cat", "", None, 512, 512, 9, 3.5, 1, '{"mood": "calm"}', line=1)


def test_zero_and_empty_are_values_not_absence() -> None:
    prompt = one('{"prompt": "x", "guidance_scale": 0, "seed": 0, "negative_prompt": ""}')
    assert (prompt.guidance_scale, prompt.seed, prompt.negative_prompt) == (0, 0, "")


def test_null_is_absence() -> None:
    fields = [
        "id",
        "negative_prompt",
        "seed",
        "width",
        "height",
        "steps",
        "guidance_scale",
        "strength",
        "images",
        "image",
        "loras",
    ]
    assert one('{"prompt": "x", ' + ", ".join(f'"{f}": null' for f in fields) + "}") == one('{"prompt": "x"}')


def test_an_edit_names_its_images_and_how_far_they_change() -> None:
    prompt = one('{"prompt": "x", "image": "in/cat.png", "strength": 1}')
    assert (prompt.inputs, prompt.strength) == (("in/cat.png",), 1.0)
    assert one('{"prompt": "x", "image": ["a.png", "../b.jpg"]}').inputs == ("a.png", "../b.jpg")
    assert one('{"prompt": "x", "image": []}').inputs == ()


@pytest.mark.parametrize(
    ("written", "chosen"),
    [
        ("null", None),
        ("[]", ()),
        ('["ink"]', (("ink", 0.8),)),
        ('[{"name": "sketch", "scale": 2}, "ink"]', (("sketch", 2.0), ("ink", 0.8))),
        ('[{"name": "sketch", "scale": 0}]', (("sketch", 0.0),)),
    ],
)
def test_a_prompt_chooses_loras_of_the_job(written: str, chosen: object) -> None:
    assert one(f'{{"prompt": "x", "loras": {written}}}').loras == chosen


LORAS = 'loras: input should be a list such as ["ink", {"name": "sketch", "scale": 0.5}]'
EACH = 'loras: each must be a name or an object such as {"name": "ink", "scale": 0.5}, not '
BAD = [
    ('{"id": "a"', "not JSON: Expecting ',' delimiter at column 11"),
    ('  {"id" 3}', "not JSON: Expecting ':' delimiter at column 9"),
    ('{"prompt": "x"} {"prompt": "y"}', "not JSON: Extra data at column 16"),
    ('{"a": NaN, "prompt": "x"}', "not JSON: NaN is no JSON number"),
    ('{"a": ' + "1" * 5000 + "}", "not JSON: a number has too many digits"),
    ("[" * 100_000, "not JSON: nested too deeply"),
    ("[1]", 'must be a JSON object such as {"id": "cat", "prompt": "a cat"}, not a list'),
    ("null", 'must be a JSON object such as {"id": "cat", "prompt": "a cat"}, not null'),
    ('{"id": "a"}', "'prompt' is missing"),
    ('{"prompt": "  "}', "prompt is empty"),
    ('{"prompt": 3}', "prompt: input should be a valid string, not 3"),
    ('{"prompt": null}', "prompt: input should be a valid string, not null"),
    ('{"prompt": "' + "x" * 20_001 + '"}', "prompt has 20001 characters, more than 20000"),
    ('{"prompt": "a\\ud800"}', "prompt: character 2 is half of a surrogate pair, which is no text"),
    ('{"prompt": "x", "negative_prompt": "\\udc00"}', "negative_prompt: character 1 is half of a surrogate pair, which is no text"),
    ('{"prompt": "x", "width": 1000}', "width: input should be a multiple of 16, not 1000"),
    ('{"prompt": "x", "steps": "9"}', 'steps: input should be a valid integer, not "9"'),
    ('{"prompt": "x", "steps": true}', "steps: input should be a valid integer, not true"),
    ('{"prompt": "x", "images": 65}', "images: input should be less than or equal to 64, not 65"),
    ('{"prompt": "x", "seed": -1}', "seed: input should be greater than or equal to 0, not -1"),
    (
        '{"prompt": "x", "steps": 0, "height": 8}',
        "height: input should be a multiple of 16, not 8; steps: input should be greater than or equal to 1, not 0",
    ),
    ('{"prompt": "x", "guidance_scale": 1e999}', "guidance_scale: input should be less than or equal to 100, not Infinity"),
    ('{"prompt": "x", "id": "../a"}', "id \"../a\" must be 1 to 128 letters, digits, '-' or '_'"),
    ('{"prompt": "x", "id": "a\\n"}', "id \"a\\n\" must be 1 to 128 letters, digits, '-' or '_'"),
    ('{"prompt": "x", "id": 1.5}', "id: input should be a string or an integer, not 1.5"),
    ('{"prompt": "x", "id": true}', "id: input should be a string or an integer, not true"),
    ('{"prompt": "x", "strength": 0.5}', "strength says how far an input image is changed, but there is no image"),
    ('{"prompt": "x", "image": "a", "strength": 0}', "strength: input should be greater than 0, not 0"),
    ('{"prompt": "x", "image": 3}', "image: input should be the path of an image, or a list of paths"),
    ('{"prompt": "x", "image": ["a", 3]}', "image: input should be the path of an image, or a list of paths"),
    ('{"prompt": "x", "image": "/etc/passwd"}',
     'image "/etc/passwd" must be a path relative to the prompt file, of 1 to 1024 characters'),
    ('{"prompt": "x", "image": "a\\u0000b"}',
     'image "a\\u0000b" must be a path relative to the prompt file, of 1 to 1024 characters'),
    ('{"prompt": "x", "image": ' + str(["a"] * 9).replace("'", '"') + "}", "image: 9 images, more than 8"),
    ('{"prompt": "x", "loras": "ink"}', LORAS),
    ('{"prompt": "x", "loras": ["red"]}', 'loras: "red" is not in spec.model.loras: it has ink, sketch'),
    ('{"prompt": "x", "loras": ["ink", "ink"]}', 'loras: "ink" is there twice'),
    ('{"prompt": "x", "loras": [7]}', EACH + "7"),
    ('{"prompt": "x", "loras": [{"name": "ink", "weight": 1}]}', EACH + "an object"),
    ('{"prompt": "x", "loras": [{"name": "ink", "scale": 11}]}', 'loras: scale of "ink" must be a number from -10 to 10, not 11'),
    ('{"prompt": "x", "note": 1e999}', "a number in the other columns is too large for JSON"),
    ('{"prompt": "x", "note": ' + "[" * 40 + "]" * 40 + "}", '"note": more than 32 lists and objects inside each other'),
    ('{"prompt": "x", "note": "' + "x" * 70_000 + '"}', "the other columns have 70012 characters, more than 65536"),
    ('{"prompt": "' + "x" * 2**20 + '"}', "longer than 1 MiB"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "says"), BAD, ids=range(len(BAD)))
def test_a_bad_line_says_where_and_what(line: str, says: str) -> None:
    good = '{"prompt": "y", "id": "good"}'
    prompts, problems = check("jsonl", f"{good}\n{line}\n", SETTING)
    assert ([p.id for p in prompts], [str(p) for p in problems]) == (["good"], [f"line 2: {says}"])


def test_a_job_without_loras_says_so() -> None:
    assert said("jsonl", b'{"prompt": "x", "loras": ["ink"]}', Setting()) == [
        'line 1: loras: "ink" is not in spec.model.loras: which is empty'
    ]


def test_a_source_without_files_says_so() -> None:
    setting = Setting(no_images="a ConfigMap holds no images")
    assert said("jsonl", b'{"prompt": "x", "image": "a.png"}', setting) == ["line 1: image: a ConfigMap holds no images"]


def test_ids_that_differ_only_by_case_would_be_one_file_somewhere() -> None:
    prompts, problems = check("jsonl", '{"id": "Cat", "prompt": "x"}\n{"id": "cAT", "prompt": "y"}\n{"prompt": "z"}', SETTING)
    assert [str(p) for p in problems] == ["line 2: id 'cAT' is used on line 1 already (ids differ by more than case)"]
    assert [(p.index, p.id) for p in prompts] == [(0, "Cat"), (1, "000003")]


def test_every_bad_line_is_reported_and_good_ones_go_on() -> None:
    prompts, problems = check("jsonl", '{\n{"prompt": "x"}\n[', SETTING)
    assert ([p.line for p in prompts], [p.line for p in problems]) == ([2], [1, 3])


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


@given(
    st.builds(
        InlinePrompt,
        id=st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True),
        prompt=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50).filter(lambda t: t.strip() != ""),
        steps=st.none() | st.integers(1, 500),
        loras=st.none() | st.lists(st.builds(LoraChoice, name=st.just("ink"), scale=st.none() | st.floats(-10, 10)), max_size=1),
    )
)
def test_inline_prompts_are_read_back_as_they_were_written(inline: InlinePrompt) -> None:
    prompts, problems = check("jsonl", inline_jsonl([inline]), SETTING)
    assert problems == []
    assert (prompts[0].id, prompts[0].prompt, prompts[0].steps) == (inline.id, inline.prompt, inline.steps or 4)
    loras = None if inline.loras is None else tuple((c.name, 0.8 if c.scale is None else c.scale) for c in inline.loras)
    assert prompts[0].loras == loras
