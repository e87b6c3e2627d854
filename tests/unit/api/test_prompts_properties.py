"""Properties of prompt files: what we write is what is read, and nothing breaks the reader."""

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.api.prompt_files import SETTING, written
from xdit_api.job import PromptFormat
from xdit_api.prompts import FIELDS, Problem, Prompt, check, parse

FORMATS: list[PromptFormat] = ["jsonl", "json", "csv", "txt"]
letters = st.characters(exclude_categories=["Cs"])
prompts = st.text(letters, min_size=1, max_size=40).filter(lambda t: t.strip() != "")
sizes = st.integers(4, 256).map(lambda n: 16 * n)
records = st.fixed_dictionaries(
    {"prompt": prompts},
    optional={
        "id": st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True),
        "negative_prompt": st.text(letters, min_size=1, max_size=20),
        "seed": st.integers(0, 2**53 - 1),
        "width": sizes,
        "height": sizes,
        "steps": st.integers(1, 500),
        "guidance_scale": st.floats(0, 100),
        "images": st.integers(1, 64),
        "image": st.lists(st.sampled_from(["a.png", "in/b c.jpg", "../d.webp"]), min_size=1, max_size=3),
        "loras": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(["ink", "sketch"]), "scale": st.floats(-10, 10)}),
            min_size=1,
            max_size=2,
            unique_by=lambda lora: lora["name"],
        ),
        "mood": st.text(letters, min_size=1, max_size=20),
    },
)


@pytest.mark.parametrize("format", ["jsonl", "json", "csv"])
@settings(max_examples=60, deadline=None)
@given(written_records=st.lists(records, min_size=1, max_size=6))
def test_a_file_that_we_write_is_read_as_it_was_meant(format: PromptFormat, written_records: list[dict[str, Any]]) -> None:
    unique = list({r.get("id", n) if "id" not in r else r["id"].lower(): r for n, r in enumerate(written_records)}.values())
    named = [{"id": f"only-{n}", **r} for n, r in enumerate(unique)]
    found, problems = check(format, written(format, named).decode(), SETTING)
    assert problems == []
    assert [(p.index, as_record(p, r)) for p, r in zip(found, named, strict=True)] == list(enumerate(named))


def as_record(prompt: Prompt, like: dict[str, Any]) -> dict[str, Any]:
    """The prompt as a record that says the same things as another one."""
    values = {
        **{name: getattr(prompt, name) for name in FIELDS - {"image", "loras"}},
        "image": list(prompt.inputs),
        "loras": [{"name": name, "scale": scale} for name, scale in prompt.loras or ()],
        **json.loads(prompt.extra),
    }
    return {name: values[name] for name in like}


@settings(max_examples=60, deadline=None)
@given(st.lists(prompts.map(lambda t: t.replace("\n", " ").strip()).filter(bool), min_size=1))
def test_txt_too(lines: list[str]) -> None:
    found, problems = check("txt", written("txt", [{"prompt": t} for t in lines]).decode(), SETTING)
    assert (problems, [p.prompt for p in found]) == ([], [t.removeprefix("\ufeff") if n == 0 else t for n, t in enumerate(lines)])


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 64, 65, 500, 1024, 4096, 4112, 2**53, 10**400])
    | st.floats()
    | st.sampled_from([0.5, 1.0, 100.0, 1e-320])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "scale", "x"]), inner, max_size=2),
    max_leaves=4,
)
fields = sorted(FIELDS - {"prompt"} | {"mood"})
near_records = st.fixed_dictionaries({"prompt": st.text(max_size=8) | anything}, optional=dict.fromkeys(fields, anything))


pieces = st.sampled_from(
    [b'"', b'""', b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"[", b"]", b"{", b"}", b":", b"1", b"-",
     b"1e999", b"NaN", b"null", b"x", b"\\", b"\\ud800", b'"prompt"', b'"prompts"', b'"id"', b"prompt,id,seed\n",
     b'{"prompt": "x"}', b'{"prompt": "x", "id": 7}', "ä€😀".encode(), b" "]
)  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=150, deadline=None)
@given(data=st.lists(pieces, max_size=40).map(b"".join) | st.binary(max_size=60))
def test_no_bytes_break_the_reader(format: PromptFormat, data: bytes) -> None:
    items = list(parse(format, io.BytesIO(data), SETTING))
    assert items != []
    assert all(isinstance(i, Prompt | Problem) and i.line >= 1 for i in items)
    assert [i.index for i in items if isinstance(i, Prompt)] == list(range(sum(isinstance(i, Prompt) for i in items)))
    assert not any(i.fatal for i in items[:-1] if isinstance(i, Problem))
    for item in items:
        str(item).encode()


@settings(max_examples=150, deadline=None)
@given(st.lists(near_records, max_size=4))
def test_no_values_break_the_reader(values: list[dict[str, Any]]) -> None:
    data = b"".join(json.dumps(v).encode() + b"\n" for v in values)
    assert len(list(parse("jsonl", io.BytesIO(data), SETTING))) == max(len(values), 1)
