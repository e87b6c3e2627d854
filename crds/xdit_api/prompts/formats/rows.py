"""Rows of a CSV file and the lines that they take."""

import csv
from collections.abc import Iterator
from typing import NamedTuple

from xdit_api.prompts.lines import MAX_LINE
from xdit_api.prompts.problems import Problem

MAX_ROW_LINES = 1000
"""Lines of one row: a prompt in quotes may have several, a quote that nobody closes would take the rest of the file."""


class Row(NamedTuple):
    """The cells of one row."""

    line: int
    """Its first one, from 1."""
    cells: list[str]


class _RunawayError(Exception):
    pass


class _Feed:
    """Lines for csv.reader; knows which of them belong to the row that is being read."""

    def __init__(self, lines: Iterator[tuple[int, str] | Problem]) -> None:
        self._lines = lines
        self.begin()

    def begin(self) -> None:
        """A new row."""
        self.first = self.last = 0
        self._characters = 0
        self.problems: list[Problem] = []

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        item = next(self._lines)
        if isinstance(item, Problem):
            self.problems.append(item)
            number, text = item.line, "\n"
        else:
            number, text = item
        self.last = number
        self.first = self.first or number
        self._characters += len(text)
        if number - self.first >= MAX_ROW_LINES or self._characters > MAX_LINE:
            raise _RunawayError
        return text


def rows(lines: Iterator[tuple[int, str] | Problem], delimiter: str) -> Iterator[Row | Problem]:
    """All rows that are not empty, with a Problem in the place of what is no row."""
    feed = _Feed(lines)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.begin()
        try:
            cells = next(reader)
        except StopIteration:
            yield from feed.problems
            return
        except (csv.Error, _RunawayError) as error:
            yield from feed.problems
            problem = _problem(error, feed.first, feed.last)
            yield problem
            if problem.fatal:
                return
            continue
        if feed.problems:
            yield from feed.problems
        elif any(cells):
            yield Row(feed.first, cells)


def _problem(error: Exception, first: int, last: int) -> Problem:
    text = str(error)
    endless = isinstance(error, _RunawayError) or text == "unexpected end of data"
    if endless or (text.startswith("field larger") and last > first):
        return Problem(first, f"a quote of this row is not closed (read until line {last}); what follows is not read", fatal=True)
    return Problem(first, f"not CSV: {_words(text)}" + (f" (the row goes on until line {last})" if last > first else ""))


def _words(text: str) -> str:
    if text.startswith("field larger"):
        return f"a cell has more than {csv.field_size_limit()} characters"
    if text.startswith("new-line character"):
        return "a carriage return inside a cell without quotes"
    if "expected after" in text:
        return "text after a closing quote; write a quote inside quotes twice"
    return text
