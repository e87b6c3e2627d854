"""A window that moves over a JSON text, so that a large file is never whole in memory."""

import codecs
import json
import re
from typing import BinaryIO

from xdit_api.prompts import strictjson
from xdit_api.prompts.lines import BOM, MAX_LINE, not_utf8

_SPACE = re.compile(r"[ \t\n\r]*")


class BrokenError(Exception):
    """The text cannot be read any further."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        """From 1."""


class Window:
    """At least MAX_LINE characters from the position on, or all that are left. Methods raise BrokenError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._ended = False
        self.line = 1
        """Of the position, from 1."""
        self._fill()

    def peek(self) -> str:
        """The next character that is no space; '' at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None
            self._move(match.end())
            self._fill()
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]

    def take(self, expected: str) -> bool:
        """Pass over the next character if it is this one."""
        if self.peek() != expected:
            return False
        self._move(self._at + 1)
        return True

    def value(self) -> object:
        """The next JSON value."""
        self.peek()
        try:
            value, end = strictjson.DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            raise self._broken(error) from error
        except strictjson.ERRORS as error:
            raise BrokenError(self.line, f"not JSON: {strictjson.reason(error)}") from error
        self._move(end)
        return value

    def broken(self, text: str) -> BrokenError:
        """Something else was expected here."""
        self.peek()
        column = self._at - self._text.rfind("\n", 0, self._at)
        return BrokenError(self.line, f"not JSON: {text} at column {column}")

    def _broken(self, error: json.JSONDecodeError) -> BrokenError:
        cut = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - 16
        if cut and not self._ended and len(self._text) - self._at >= MAX_LINE:
            return BrokenError(self.line, f"longer than {MAX_LINE >> 20} MiB")
        line = self.line + self._text.count("\n", self._at, error.pos)
        return BrokenError(line, f"not JSON: {error.msg} at column {error.colno}")

    def _move(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _fill(self) -> None:
        while not self._ended and len(self._text) - self._at < MAX_LINE:
            raw = self._file.read(MAX_LINE)
            self._ended = not raw
            line = self.line + self._text.count("\n", self._at)
            try:
                more = self._decoder.decode(raw, final=self._ended)
            except UnicodeDecodeError as error:
                raise BrokenError(
                    line + raw.count(b"\n", 0, error.start), not_utf8(f"byte {error.start + 1} of a block")
                ) from error
            # what is left of the current line stays, for the column
            keep = max(self._text.rfind("\n", 0, self._at) + 1, self._at - MAX_LINE)
            self._text = self._text[keep:] + more
            self._at -= keep


def skip_bom(file: BinaryIO) -> None:
    """Leave the position behind a byte order mark."""
    start = file.tell()
    if file.read(len(BOM)) != BOM:
        file.seek(start)
