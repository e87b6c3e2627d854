"""Prompt files for tests: written in every format, read without a disk."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from xdit_api.job import PromptFormat
from xdit_api.prompts import Problem, Prompt, Setting, check, parse
from xdit_api.spec import Defaults

SETTING = Setting(Defaults(width=512, height=512, steps=4, seed=1), {"ink": 0.8, "sketch": 1.0})


def one(line: str, setting: Setting = SETTING) -> Prompt:
    """The prompt of a JSONL file of one line."""
    prompts, problems = check("jsonl", line, setting)
    assert problems == []
    return prompts[0]


def said(format: PromptFormat, data: bytes, setting: Setting = SETTING) -> list[str]:
    """All problems of a file, in its order."""
    return [str(item) for item in parse(format, io.BytesIO(data), setting) if isinstance(item, Problem)]


def written(format: PromptFormat, records: Iterable[dict[str, Any]]) -> bytes:
    """A file as another program would write it."""
    listed = list(records)
    if format == "jsonl":
        text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in listed)
    elif format == "json":
        text = json.dumps(listed, indent=1)
    elif format == "txt":
        text = "".join(r["prompt"] + "\n" for r in listed)
    else:
        text = _csv(listed)
    return text.encode()


def _csv(records: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    columns = list(dict.fromkeys(["prompt", *(name for r in records for name in r)]))
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    for record in records:
        writer.writerow({name: _cell(name, value) for name, value in record.items()})
    return out.getvalue()


def _cell(name: str, value: Any) -> Any:
    if name == "image":
        return "|".join(value)
    if name == "loras":
        return " ".join(f"{lora['name']}:{lora['scale']}" for lora in value)
    return value
