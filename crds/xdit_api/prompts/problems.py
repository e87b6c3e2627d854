"""What is wrong with a prompt file, in one line each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

MAX_PROBLEMS = 20
"""Problems that are spelled out; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a line, or the whole file, cannot be used."""

    line: int
    """From 1."""
    text: str
    fatal: bool = False
    """Nothing after this line was read: leaving out the line does not help."""

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


def summary(source: str, problems: Sequence[Problem], count: int | None = None) -> str:
    """One text for a condition or a termination message: '<source>: 3 bad lines' and the first lines.

    count: how many there are, when `problems` holds only the first of them.
    """
    total = len(problems) if count is None else count
    shown = "\n".join(str(p) for p in problems[:MAX_PROBLEMS])
    left = total - min(len(problems), MAX_PROBLEMS)
    more = f"\n… and {left} more" if left > 0 else ""
    return f"{source}: {'1 bad line' if total == 1 else f'{total} bad lines'}\n{shown}{more}"


def kind(value: object) -> str:
    """What JSON calls a value: 'a list', 'a number', …"""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def shown(value: object) -> str:
    """A value as JSON, short enough for one line."""
    text = kind(value) if isinstance(value, dict | list) else json.dumps(value, ensure_ascii=False)
    return (text if len(text) <= 60 else text[:59] + "…").encode("utf-8", "backslashreplace").decode()
