"""Bytes of a prompt file to lines of text, each with its number. Only a line feed ends a line."""

from collections.abc import Iterator
from typing import BinaryIO

from xdit_api.prompts.problems import Problem

MAX_LINE = 2**20
"""Bytes of one line, or characters of one record."""
BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def decoded(file: BinaryIO) -> Iterator[tuple[int, str] | Problem]:
    """(number from 1, line with its end), with a Problem in the place of every line that is no text.

    Holds one line of at most MAX_LINE bytes; what is longer is passed over.
    """
    for number, raw in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 1):
        if number == 1:
            if raw.startswith(_UTF16):
                yield utf16()
                return
            raw = raw.removeprefix(BOM)
        if len(raw) > MAX_LINE:
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(MAX_LINE)
            yield Problem(number, f"longer than {MAX_LINE >> 20} MiB")
            continue
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            yield Problem(number, not_utf8(f"byte {error.start + 1} of the line"))
            continue
        yield number, text


def not_utf8(where: str) -> str:
    """The sentence for bytes that are no text."""
    return f"not UTF-8 ({where}): save the file with that encoding"


def utf16() -> Problem:
    """The problem of a file in the encoding that Windows calls Unicode."""
    return Problem(1, "not UTF-8 but UTF-16: save the file as UTF-8", fatal=True)
