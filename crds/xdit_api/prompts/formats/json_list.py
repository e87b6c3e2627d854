"""JSON: a list of objects, or {"prompts": [...]}; up to 64 MiB, read element by element."""

import io
from collections.abc import Iterator
from typing import BinaryIO

from xdit_api.prompts.formats.record import Record
from xdit_api.prompts.formats.window import BrokenError, Window, skip_bom
from xdit_api.prompts.lines import utf16
from xdit_api.prompts.problems import Problem, shown

MAX_BYTES = 64 * 2**20
_FORM = 'must be a list of objects, or {"prompts": [...]}'


def read(file: BinaryIO) -> Iterator[Record | Problem]:
    """Records in file order. file: seekable. What is broken ends the list: there is no way to find the next element."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size > MAX_BYTES:
        text = f"the file has {size >> 20} MiB, more than {MAX_BYTES >> 20}: write one object a line and call it .jsonl"
        yield Problem(1, text, fatal=True)
        return
    if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
        yield utf16()
        return
    file.seek(0)
    skip_bom(file)
    try:
        yield from _document(Window(file))
    except BrokenError as error:
        yield Problem(error.line, str(error), fatal=True)


def _document(window: Window) -> Iterator[Record]:
    first = window.peek()
    if first == "":
        return
    if first == "[":
        yield from _elements(window)
    elif window.take("{"):
        _key(window)
        yield from _elements(window)
        if not window.take("}"):
            raise window.broken('expecting "}": "prompts" must be the only key of the file')
    else:
        raise BrokenError(window.line, f"{_FORM}, not {shown(window.value())}")
    if window.peek():
        raise window.broken("there is more after the end")


def _key(window: Window) -> None:
    line = window.line
    key = window.value() if window.peek() == '"' else None
    if key != "prompts":
        raise BrokenError(line, f"{_FORM}, not an object with {'the key ' + shown(key) if key is not None else 'other keys'}")
    if not window.take(":"):
        raise window.broken("expecting ':'")


def _elements(window: Window) -> Iterator[Record]:
    if not window.take("["):
        raise BrokenError(window.line, f"{_FORM}, not {shown(window.value())}")
    number = 0
    while not (number == 0 and window.take("]")):
        window.peek()
        number += 1
        yield Record(window.line, number, window.value())
        if window.take("]"):
            return
        if not window.take(","):
            raise window.broken("expecting ',' or ']'")
