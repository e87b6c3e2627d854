"""CSV: a header row with the names of the fields, one prompt a row; an empty cell is an absent value."""

import csv
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO

from xdit_api.prompts.formats.record import Record
from xdit_api.prompts.formats.rows import rows
from xdit_api.prompts.lines import decoded
from xdit_api.prompts.problems import Problem, shown

_DELIMITERS = (",", ";", "\t")
# spreadsheets and pandas write the integers of a column with gaps as 7.0
_INTEGER = re.compile(r"([+-]?[0-9]{1,32})(?:\.0*)?\Z")
_MAX_NUMBER = 64
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")


def read(file: BinaryIO) -> Iterator[Record | Problem]:
    """Records in file order; the line of a row is its first one."""
    lines = decoded(file)
    for item in lines:
        if isinstance(item, Problem):
            yield Problem(item.line, item.text, fatal=True)
            return
        if item[1].strip():
            break
    else:
        return
    number, text = item
    try:
        delimiter, header = _header(text)
    except csv.Error as error:
        yield Problem(number, f"the header is not CSV: {error}", fatal=True)
        return
    wrong = _wrong(header)
    if wrong is not None:
        yield Problem(number, wrong, fatal=True)
        return
    columns = [(name, _CONVERT.get(name, str)) for name in header]
    for row in rows(lines, delimiter):
        if isinstance(row, Problem):
            yield row
        elif len(row.cells) != len(columns):
            yield Problem(row.line, f"has {len(row.cells)} cells, the header has {len(columns)}")
        else:
            values = {name: convert(cell) for (name, convert), cell in zip(columns, row.cells, strict=True) if cell and name}
            yield Record(row.line, row.line, values)


def _header(text: str) -> tuple[str, list[str]]:
    """The delimiter and the names. Raises csv.Error."""
    found = [(d, [name.strip() for name in next(csv.reader([text], delimiter=d, strict=True))]) for d in _DELIMITERS]
    return next((f for f in found if "prompt" in f[1]), found[0])


def _wrong(header: list[str]) -> str | None:
    twice = next((name for name, count in Counter(header).items() if name and count > 1), None)
    if twice is not None:
        return f"the header has the column {shown(twice)} twice"
    if "prompt" not in header:
        listed = shown(", ".join(itertools.islice(filter(None, header), 20)))
        return f'the first line must name the columns, one of them "prompt"; it has {listed}'
    return None


def _integer(cell: str) -> object:
    match = _INTEGER.match(cell.strip())
    return int(match[1]) if match else _blank(cell)


def _number(cell: str) -> object:
    number = cell.strip()
    # the pattern takes the square of the length for what is no number
    return float(number) if len(number) <= _MAX_NUMBER and _NUMBER.match(number) else _blank(cell)


def _blank(cell: str) -> object:
    return cell if cell.strip() else None


def _paths(cell: str) -> object:
    return [path.strip() for path in cell.split("|")] if "|" in cell else _blank(cell)


def _loras(cell: str) -> object:
    """'ink:0.8 sketch' -> [{"name": "ink", "scale": 0.8}, "sketch"]."""
    return [_lora(word) for word in cell.split()] or None


def _lora(word: str) -> object:
    name, colon, scale = word.partition(":")
    return {"name": name, "scale": _number(scale)} if colon else word


_CONVERT: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("seed", "width", "height", "steps", "images"), _integer),
    **dict.fromkeys(("guidance_scale", "strength"), _number),
    "id": _blank,
    "image": _paths,
    "loras": _loras,
}
