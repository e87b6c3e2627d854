"""A prompt file, whole: every prompt or problem in file order."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from xdit_api.job import PromptFormat
from xdit_api.prompts.checks import Setting, resolve
from xdit_api.prompts.formats import READERS
from xdit_api.prompts.problems import Problem
from xdit_api.prompts.record import Prompt
from xdit_api.spec import InlinePrompt


def parse(format: PromptFormat, file: BinaryIO, setting: Setting) -> Iterator[Prompt | Problem]:
    """Prompts in file order, numbered from 0, with a Problem in the place of every bad line.

    Yields one Problem when there is nothing at all. Does not look for equal ids: that needs memory, and callers
    have different ways. file: at its start; seekable for JSON.
    """
    index = 0
    item: object = None
    for item in READERS[format](file):
        if isinstance(item, Problem):
            yield item
            continue
        made = resolve(item, index, setting)
        if isinstance(made, Prompt):
            index += 1
        elif format == "json":
            made = replace(made, text=f"element {item.number}: {made.text}")
        yield made
    if item is None:
        yield Problem(1, "no prompts: the file is empty", fatal=True)


def check(format: PromptFormat, text: str, setting: Setting) -> tuple[list[Prompt], list[Problem]]:
    """All prompts and all problems of a small file. Of prompts with equal ids the first one stays."""
    prompts: list[Prompt] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for item in parse(format, io.BytesIO(text.encode("utf-8", "surrogatepass")), setting):
        if isinstance(item, Problem):
            problems.append(item)
            continue
        first = seen.get(item.id.lower())
        if first is not None:
            problems.append(same_id(item, first))
            continue
        seen[item.id.lower()] = item.line
        prompts.append(replace(item, index=len(prompts)))
    return prompts, problems


def same_id(prompt: Prompt, first: int) -> Problem:
    """The problem of an id that the prompt of an earlier line has."""
    return Problem(prompt.line, f"id '{prompt.id}' is used on line {first} already (ids differ by more than case)")


def inline_jsonl(prompts: list[InlinePrompt]) -> str:
    """Inline prompts of a resource as a JSONL file."""
    return "".join(json.dumps(p.model_dump(exclude_none=True, by_alias=False), ensure_ascii=False) + "\n" for p in prompts)
