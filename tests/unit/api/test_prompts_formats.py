"""The four formats: what each takes and where it says that something is wrong."""

import io
import re
import time
from pathlib import Path
from typing import get_args

import pytest

from tests.unit.api.prompt_files import SETTING, said
from xdit_api.job import PromptFormat
from xdit_api.prompts import FIELDS, Problem, Prompt, check, parse
from xdit_api.prompts.formats import json_list
from xdit_api.prompts.lines import MAX_LINE

ROOT = Path(__file__).parents[3]


def read(format: PromptFormat, text: str) -> list[Prompt]:
    prompts, problems = check(format, text, SETTING)
    assert problems == []
    return prompts


def test_txt_has_one_prompt_a_line_and_ids_are_line_numbers() -> None:
    prompts = read("txt", '\ufeff  a cat\r\n\n{"a": 1}\n')
    assert [(p.index, p.line, p.id, p.prompt) for p in prompts] == [(0, 1, "000001", "a cat"), (1, 3, "000003", '{"a": 1}')]


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_line_feed_ends_a_line(separator: str) -> None:
    assert [p.prompt for p in read("txt", f"one{separator}two\nthree\r\n")] == [f"one{separator}two", "three"]


@pytest.mark.parametrize("text", ['\ufeff{"prompt": "x"}', '{"prompt": "x"}\r\n', '\n\n  {"prompt": "x"}  \n'])
def test_jsonl_has_one_object_a_line(text: str) -> None:
    assert [p.prompt for p in read("jsonl", text)] == ["x"]


@pytest.mark.parametrize(
    "text",
    [
        '[{"prompt": "x"}, {"prompt": "y", "id": "b"}]',
        '\ufeff{"prompts": [{"prompt": "x"}, {"prompt": "y", "id": "b"}]}\r\n',
        ' {\n "prompts"\n:\n[ {"prompt": "x"}\n,\n{"prompt": "y", "id": "b"} ] } \n',
    ],
)
def test_json_is_a_list_or_an_object_with_one(text: str) -> None:
    assert [(p.id, p.prompt) for p in read("json", text)] == [("000001", "x"), ("b", "y")]


def test_json_knows_the_line_of_each_element() -> None:
    text = '[\n{"prompt": "x"},\n\n {"prompt":\n"y"}, {"prompt": 3},\n{}]'
    prompts, problems = check("json", text, SETTING)
    assert [p.line for p in prompts] == [2, 4]
    assert [str(p) for p in problems] == [
        "line 5: element 3: prompt: input should be a valid string, not 3",
        "line 6: element 4: 'prompt' is missing",
    ]


def test_json_longer_than_the_window_is_read_whole() -> None:
    filler = " " * 700_000
    text = "[" + ",".join(f'\n{filler}{{"prompt": "p{n}", "note": "ä"}}' for n in range(9)) + filler + "]"
    assert [(p.prompt, p.line) for p in read("json", text)] == [(f"p{n}", n + 2) for n in range(9)]


FORM = 'must be a list of objects, or {"prompts": [...]}'
BAD_JSON = [
    (b"", "line 1: no prompts: the file is empty"),
    (b"[]", "line 1: no prompts: the file is empty"),
    (b'{"prompts": []}', "line 1: no prompts: the file is empty"),
    (b'{"id": "a", "prompt": "x"}', f'line 1: {FORM}, not an object with the key "id"'),
    (b"{}", f"line 1: {FORM}, not an object with other keys"),
    (b'{"prompts": 3}', f"line 1: {FORM}, not 3"),
    (b'\n"x"', f'line 2: {FORM}, not "x"'),
    (b'{"prompts" []}', "line 1: not JSON: expecting ':' at column 12"),
    (b'{"prompts": [{"prompt": "x"}], "defaults": {}}',
     'line 1: not JSON: expecting "}": "prompts" must be the only key of the file at column 30'),
    (b'[{"prompt": "x"}\n{"prompt": "y"}]', "line 2: not JSON: expecting ',' or ']' at column 1"),
    (b'[{"prompt": "x"},\n]', "line 2: not JSON: Expecting value at column 1"),
    (b'[{"prompt": "x"}', "line 1: not JSON: expecting ',' or ']' at column 17"),
    (b'[{"prompt": "x",\n "seed": 07}]', "line 2: not JSON: Expecting ',' delimiter at column 11"),
    (b'[{"prompt": "x"}]\n[]', "line 2: not JSON: there is more after the end at column 1"),
    (b'[{"prompt": "x", "n": NaN}]', "line 1: not JSON: NaN is no JSON number"),
    (b"[" * 100_000, "line 1: not JSON: nested too deeply"),
    (b'[\n{"prompt": "\xff"}]', "line 2: not UTF-8 (byte 15 of a block): save the file with that encoding"),
    (b'[{"prompt": "' + b"x" * 2 * MAX_LINE + b'"}]', "line 1: longer than 1 MiB"),
    ("[]".encode("utf-16"), "line 1: not UTF-8 but UTF-16: save the file as UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "says"), BAD_JSON, ids=range(len(BAD_JSON)))
def test_broken_json_ends_the_file(data: bytes, says: str) -> None:
    assert said("json", data) == [says]
    assert all(i.fatal for i in parse("json", io.BytesIO(data), SETTING) if isinstance(i, Problem))


def test_json_too_large_says_what_to_do() -> None:
    file = io.BytesIO(b" " * (json_list.MAX_BYTES + 1))
    assert [str(i) for i in parse("json", file, SETTING)] == [
        "line 1: the file has 64 MiB, more than 64: write one object a line and call it .jsonl"
    ]


def test_csv_has_a_header_and_empty_cells_are_absent() -> None:
    text = (
        "\ufeffid,prompt,negative_prompt,seed,width,guidance_scale,image,strength,loras,mood\r\n"
        'cat,"a ""big"" cat,\r\nasleep",,7,768,4,,,,calm\r\n'
        "\r\n,,,,,,,,,\r\n"
        ",a dog,ugly,7.0, ,,a.png|b c.png,.5,ink:0.5 sketch,\r\n"
    )
    cat, dog = read("csv", text)
    assert cat == Prompt(0, "cat", 'a "big" cat,\r\nasleep', "", 7, 768, 512, 4, 4.0, 1, '{"mood": "calm"}', line=2)
    inputs, loras = ("a.png", "b c.png"), (("ink", 0.5), ("sketch", 1.0))
    assert dog == Prompt(1, "000006", "a dog", "ugly", 7, 512, 512, 4, 3.5, 1, "{}", inputs, 0.5, loras, line=6)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_spreadsheets_have_their_own_delimiters(delimiter: str) -> None:
    lines = ["|prompt|steps", '0|"a, b; c"|9', "1|x|"]
    prompts = read("csv", "\n".join(line.replace("|", delimiter) for line in lines))
    assert [(p.prompt, p.steps, p.extra) for p in prompts] == [("a, b; c", 9, "{}"), ("x", 4, "{}")]


BAD_CSV = [
    (b"", ["line 1: no prompts: the file is empty"]),
    (b"id,prompt\n", ["line 1: no prompts: the file is empty"]),
    (b"\nid,text\n1,x\n", ['line 2: the first line must name the columns, one of them "prompt"; it has "id, text"']),
    (b"prompt,id,id\n", ['line 1: the header has the column "id" twice']),
    (b'prompt,"id\n', ["line 1: the header is not CSV: unexpected end of data"]),
    (b"prompt,\xff\n", ["line 1: not UTF-8 (byte 8 of the line): save the file with that encoding"]),
    (b"id,prompt\n1,x,y\n2\n3,z", ["line 2: has 3 cells, the header has 2", "line 3: has 1 cells, the header has 2"]),
    (b"id,prompt\n1,\n2,y", ["line 2: 'prompt' is missing"]),
    (b"prompt,seed\nx,1.5\n", ['line 2: seed: input should be a valid integer, not "1.5"']),
    (b"prompt,guidance_scale\nx,\"3,5\"\n", ['line 2: guidance_scale: input should be a valid number, not "3,5"']),
    (b"prompt,loras\nx,ink:much\n", ['line 2: loras: scale of "ink" must be a number from -10 to 10, not "much"']),
    (b'prompt\n"x\ny"\n"z"a\nb\n', ["line 4: not CSV: text after a closing quote; write a quote inside quotes twice"]),
    (b'prompt\n"x\ny"z\nb\n',
     ["line 2: not CSV: text after a closing quote; write a quote inside quotes twice (the row goes on until line 3)"]),
    (b"prompt\nx\ry\nb\n", ["line 2: not CSV: a carriage return inside a cell without quotes"]),
    (b"prompt\n" + b"x" * 200_000 + b"\nb\n", ["line 2: not CSV: a cell has more than 131072 characters"]),
    (b'prompt\nb\n"x\n\xff"\nc\n', ["line 4: not UTF-8 (byte 1 of the line): save the file with that encoding",
                                    "line 3: a quote of this row is not closed (read until line 5); what follows is not read"]),
    (b'prompt\nb\n"x\n\xff\nd"\nc\n', ["line 4: not UTF-8 (byte 1 of the line): save the file with that encoding"]),
    (b'prompt\nb\n"x\nc\n', ["line 3: a quote of this row is not closed (read until line 4); what follows is not read"]),
    (b'prompt\nb\n"x\n' + b"c\n" * 5000,
     ["line 3: a quote of this row is not closed (read until line 1003); what follows is not read"]),
    (b'prompt\n"x\n' + b"c" * 200_000, ["line 2: a quote of this row is not closed (read until line 3); what follows is not read"]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "says"), BAD_CSV, ids=range(len(BAD_CSV)))
def test_bad_rows_are_named_by_their_line(data: bytes, says: list[str]) -> None:
    assert said("csv", data) == says


@pytest.mark.parametrize("format", ["jsonl", "txt"])
def test_a_line_that_is_no_text_does_not_move_the_others(format: PromptFormat) -> None:
    good = b'{"prompt": "x"}\n'
    data = good + b"caf\xe9\n" + b"x" * (2 * MAX_LINE) + b"\n" + good
    assert said(format, data) == [
        "line 2: not UTF-8 (byte 4 of the line): save the file with that encoding",
        "line 3: longer than 1 MiB",
    ]
    assert [i.line for i in parse(format, io.BytesIO(data), SETTING) if isinstance(i, Prompt)] == [1, 4]
    assert said(format, "x\n".encode("utf-16")) == ["line 1: not UTF-8 but UTF-16: save the file as UTF-8"]


HOSTILE: list[tuple[PromptFormat, bytes, int]] = [
    ("csv", b"prompt," + b"a," * 500_000 + b"\n", 1),
    ("csv", b"prompt,strength\n" + (b"x," + b"1" * 130_000 + b"x\n") * 10, 10),
    ("csv", b"prompt,a\n" + b'x","a\n' * 100_000, 1),
    ("jsonl", b'{"prompt": "x", "loras": [' + b'"ink",' * 150_000 + b'"ink"]}', 1),
    ("jsonl", b'{"prompt": "x", "seed": ' + b"1" * 1_000_000 + b"}", 1),
    ("jsonl", b'{"prompt": "x", "guidance_scale": 1' + b"." + b"1" * 1_000_000 + b"}", 0),
    ("jsonl", b'{"prompt": "x", "a": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, 1),
    ("json", b"[" + b" " * 20_000_000, 1),
    ("json", b"[" + b'{"prompt":"x"},' * 20_000 + b"{}]", 1),
    ("json", b'{"prompts"' + b"\n" * 5_000_000, 1),
]


@pytest.mark.parametrize(("format", "data", "problems"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_files_are_read_in_the_time_of_their_length(format: PromptFormat, data: bytes, problems: int) -> None:
    started = time.process_time()
    assert len(said(format, data)) == problems
    # what takes the square of the length takes minutes
    assert time.process_time() - started < 20


EXAMPLES = re.findall(r"```(jsonl|json|csv|txt)\n(.*?)```", (ROOT / "docs/prompts.md").read_text(), re.DOTALL)


@pytest.mark.parametrize(("format", "text"), EXAMPLES, ids=[format for format, _ in EXAMPLES])
def test_the_examples_of_the_documentation_are_right(format: PromptFormat, text: str) -> None:
    prompts = read(format, text)
    assert len(prompts) >= 2
    assert all(p.id in ("cat", "cat-ink", "cat-night", "dog", f"{p.line:06d}") for p in prompts)


def test_the_documentation_has_every_format_and_field() -> None:
    assert sorted(format for format, _ in EXAMPLES) == sorted(get_args(PromptFormat))
    text = (ROOT / "docs/prompts.md").read_text()
    assert [name for name in sorted(FIELDS) if f"`{name}`" not in text] == []
