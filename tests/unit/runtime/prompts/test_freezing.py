"""Prompt file -> frozen prompts: what is refused, what is left out, what it costs."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runtime.jobs import make_job
from xdit_api.job import Job
from xdit_runtime.prompts import FrozenPrompts, PromptFileError, freeze, freezing
from xdit_runtime.prompts.frozen import read_table, table_of


def frozen(job: Job, folder: Path) -> FrozenPrompts:
    lines, table = folder / "frozen.jsonl", folder / "frozen.bin"
    freeze(job, lines, table)
    found = read_table(table, lines)
    assert found.tobytes() == table_of(lines).tobytes()
    return FrozenPrompts(lines, found)


def job_of(root: Path, text: str | bytes, **prompts: Any) -> Job:
    job = make_job(root, prompts=prompts)
    Path(job.prompts.path).write_bytes(text.encode() if isinstance(text, str) else text)
    return job


def refusal(job: Job, folder: Path) -> str:
    with pytest.raises(PromptFileError) as caught:
        frozen(job, folder)
    return str(caught.value).removeprefix(job.prompts.path)


BAD = '{"id": "a", "prompt": "x"}\n{\n{"id": "B", "prompt": "y"}\n\n{"id": "b", "prompt": "z"}\n{"id": "a", "prompt": "z"}\n{"id": "c", "prompt": "w"}\n'
SAID = [
    "line 2: not JSON: Expecting property name enclosed in double quotes at column 2",
    "line 5: id 'b' is used on line 3 already (ids differ by more than case)",
    "line 6: id 'a' is used on line 1 already (ids differ by more than case)",
]


def test_every_bad_line_fails_the_job(tmp_path: Path) -> None:
    job = job_of(tmp_path, BAD)
    assert refusal(job, tmp_path) == "\n".join([": 3 bad lines", *SAID])


def test_skip_leaves_bad_lines_out_and_remembers_them(tmp_path: Path) -> None:
    prompts = frozen(job_of(tmp_path, BAD, policy="Skip"), tmp_path)
    assert [(p.index, p.id, p.prompt, p.line) for p in (prompts[i] for i in range(len(prompts)))] == [
        (0, "a", "x", 1),
        (1, "B", "y", 3),
        (2, "c", "w", 7),
    ]
    assert [str(p) for p in prompts.left_out()] == SAID
    assert prompts.find(["b", "c", "A", "z"]).tolist() == [1, 2, 0, -1]


def test_skip_of_nothing_is_no_difference(tmp_path: Path) -> None:
    text = '{"prompt": "x"}\n{"prompt": "y"}\n'
    prompts = frozen(job_of(tmp_path, text, policy="Skip"), tmp_path)
    assert ([p.id for p in (prompts[0], prompts[1])], list(prompts.left_out())) == (["000001", "000002"], [])


@pytest.mark.parametrize(
    ("text", "format", "says"),
    [
        ("{\n[", "jsonl", ": 2 bad lines\nline 1: "),
        ("", "jsonl", ": 1 bad line\nline 1: no prompts: the file is empty"),
        ('[{"prompt": "x"}, {},\n{]', "json", ": 2 bad lines\nline 2: not JSON: Expecting property name"),
        ('prompt\nx\n"y\nz', "csv", ": 1 bad line\nline 3: a quote of this row is not closed"),
    ],
)
def test_skip_needs_a_good_line_and_a_file_that_can_be_read_to_its_end(tmp_path: Path, text: str, format: str, says: str) -> None:
    assert refusal(job_of(tmp_path, text, policy="Skip", format=format), tmp_path).startswith(says)


def test_skip_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "MAX_LEFT_OUT", 3)
    job = job_of(tmp_path, BAD + "{\n", policy="Skip")
    with pytest.raises(PromptFileError) as caught:
        frozen(job, tmp_path)
    assert str(caught.value).startswith(f"policy Skip leaves out at most 3 lines\n{job.prompts.path}: 4 bad lines\nline 2: ")


def test_of_many_problems_the_first_ones_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    job = job_of(tmp_path, '{"id": "a", "prompt": "x"}\n' * 3000 + "{\n" * 3000)
    with pytest.raises(PromptFileError) as caught:
        frozen(job, tmp_path)
    assert str(caught.value).startswith(f"{job.prompts.path}: 5999 bad lines\nline 2: id 'a' is used on line 1 already")
    assert str(caught.value).endswith("\n… and 5979 more")
    assert [p.line for p in caught.value.problems] == list(range(2, 1002))


def test_different_ids_of_one_hash_are_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # nobody knows two such ids; the table could not tell them apart
    monkeypatch.setattr("xdit_runtime.prompts.table.id_hash", lambda _: 7)
    job = job_of(tmp_path, '{"id": "a", "prompt": "x"}\n{"id": "b", "prompt": "y"}\n')
    assert "line 2: id 'b' cannot be told from 'a' of line 1 by its hash: change one of them" in refusal(job, tmp_path)


def test_a_file_that_is_not_there_is_no_prompt_file(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    Path(job.prompts.path).unlink()
    assert refusal(job, tmp_path) == ": cannot read the prompt file: No such file or directory"


def test_loras_of_the_job_can_be_chosen(tmp_path: Path) -> None:
    loras = [{"name": "ink", "path": "ink.safetensors", "scale": 0.5}]
    text = '{"prompt": "x", "loras": ["ink"]}\n{"prompt": "y"}\n{"prompt": "z", "loras": []}\n'
    job = make_job(tmp_path, text=text, model={"loras": loras})
    prompts = frozen(job, tmp_path)
    assert [prompts[i].loras for i in range(3)] == [(("ink", 0.5),), None, ()]


def test_a_prompt_costs_some_bytes_of_memory(tmp_path: Path) -> None:
    few, many = (peak(make_job(tmp_path / str(n), n), tmp_path) for n in (500, 2500))
    # a Prompt alone has some 600 bytes, an entry of a dict of ids about 150
    assert many - few < 2000 * 130


def peak(job: Job, folder: Path) -> int:
    tracemalloc.start()
    try:
        freeze(job, folder / "l", folder / "t")
        FrozenPrompts(folder / "l", read_table(folder / "t", folder / "l")).close()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
