"""Frozen prompts: nothing gets lost in the file, and the table answers for all of them."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.runtime.jobs import make_job
from xdit_api.prompts import Problem, Prompt
from xdit_runtime.ledger.opening import open_prompts
from xdit_runtime.paths import Layout
from xdit_runtime.prompts import FrozenPrompts, Shape, freeze
from xdit_runtime.prompts.coding import decode, decode_left_out, encode, encode_left_out, is_left_out
from xdit_runtime.prompts.frozen import read_table, table_of

text = st.text(max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
any_prompt = st.builds(
    Prompt,
    index=st.integers(0, 2**40),
    id=text,
    prompt=text,
    negative_prompt=text,
    seed=st.none() | st.integers(0, 2**63),
    width=st.integers(64, 4096),
    height=st.integers(64, 4096),
    steps=st.integers(1, 500),
    guidance_scale=numbers,
    images=st.integers(1, 64),
    extra=st.just("{}") | text,
    inputs=st.lists(text, max_size=2).map(tuple),
    strength=st.none() | numbers,
    loras=st.none() | st.lists(st.tuples(text, numbers), max_size=2).map(tuple),
    digests=st.lists(text, max_size=2).map(tuple),
    line=st.integers(1, 2**32 - 1),
)


@settings(max_examples=100, deadline=None)
@given(any_prompt)
def test_a_prompt_survives_its_line(prompt: Prompt) -> None:
    line = encode(prompt)
    assert line.count(b"\n") == 1
    assert not is_left_out(line)
    expected = prompt if prompt.inputs else Prompt(**{**fields(prompt), "digests": ()})
    assert decode(line, prompt.index) == expected


def fields(prompt: Prompt) -> dict[str, Any]:
    return {name: getattr(prompt, name) for name in prompt.__slots__}


@given(st.builds(Problem, line=st.integers(1, 2**40), text=text))
def test_a_left_out_line_survives_too(problem: Problem) -> None:
    assert is_left_out(encode_left_out(problem))
    assert decode_left_out(encode_left_out(problem)) == problem


def opened(root: Path, records: list[dict[str, Any]], **changes: Any) -> FrozenPrompts:
    job = make_job(root, [{"prompt": "x", **r} for r in records], **changes)
    freeze(job, root / "lines", root / "table")
    return FrozenPrompts(root / "lines", read_table(root / "table", root / "lines"))


LORAS = {"loras": [{"name": "ink", "path": "i.safetensors"}, {"name": "sketch", "path": "s.safetensors", "scale": 0.5}]}


def test_a_bucket_holds_what_one_batch_may_draw(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 8)
    different: list[dict[str, Any]] = [
        {},
        {"width": 128},
        {"height": 128},
        {"steps": 3},
        {"guidance_scale": 1},
        {"image": "a.png"},
        {"image": ["a.png", "a.png"]},
        {"image": "a.png", "strength": 0.5},
        {"loras": []},
        {"loras": ["ink"]},
        {"loras": [{"name": "ink", "scale": 2}]},
        {"loras": ["ink", "sketch"]},
        {"loras": ["sketch", "ink"]},
    ]
    same: list[dict[str, Any]] = [
        {"seed": 3, "prompt": "y", "negative_prompt": "n", "images": 2, "width": 64, "mood": "calm"},
        {"guidance_scale": 3.5, "loras": None},
    ]
    prompts = opened(tmp_path, different + same, model=LORAS)
    assert len(set(prompts.bucket[: len(different)].tolist())) == len(different)
    assert set(prompts.bucket[len(different) :].tolist()) == {prompts.bucket[0]}


def test_shapes_and_sizes_count_images_and_know_a_line(tmp_path: Path) -> None:
    records = [{"width": 128}, {"images": 2}, {"width": 128, "steps": 9, "images": 64}, {"width": 128}, {"height": 4096}]
    prompts = opened(tmp_path, records)
    assert prompts.shapes() == [Shape(128, 64, 9, 64), Shape(64, 64, 2, 2), Shape(128, 64, 2, 2), Shape(64, 4096, 2, 1)]
    assert prompts.sizes() == [(64, 64), (64, 4096), (128, 64)]
    assert prompts.first_lines([(128, 64), (64, 4096), (640, 64)]) == {(128, 64): 1, (64, 4096): 5}
    assert prompts.total == 69


@pytest.mark.parametrize("damage", ["missing", "cut", "of an older version", "of another file", "empty"])
def test_a_table_that_is_not_whole_is_made_again(tmp_path: Path, damage: str) -> None:
    prompts = opened(tmp_path, [{"id": f"p{n}"} for n in range(5)])
    table = tmp_path / "table"
    whole = table.read_bytes()
    if damage == "missing":
        table.unlink()
    else:
        row = len(whole) // 6
        table.write_bytes(
            {"cut": whole[:-row], "of an older version": b"\1" * 23 * 35, "of another file": whole * 2, "empty": b""}[damage]
        )
    again = read_table(table, tmp_path / "lines")
    assert again.tobytes() == table_of(tmp_path / "lines").tobytes() == whole
    assert prompts[4].id == "p4"


def test_a_lost_table_is_made_once_for_all_lanes(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    layout = Layout.of(job)
    layout.make()
    open_prompts(job, layout).close()
    whole = layout.prompt_index.read_bytes()
    layout.prompt_index.unlink()
    open_prompts(job, layout).close()
    assert layout.prompt_index.read_bytes() == whole
    assert list(layout.scratch.iterdir()) == []
