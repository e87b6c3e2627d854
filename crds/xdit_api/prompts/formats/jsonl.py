"""JSONL: one JSON object a line; empty lines are passed over."""

import json
from collections.abc import Iterator
from typing import BinaryIO

from xdit_api.prompts import strictjson
from xdit_api.prompts.formats.record import Record
from xdit_api.prompts.lines import decoded
from xdit_api.prompts.problems import Problem


def read(file: BinaryIO) -> Iterator[Record | Problem]:
    """Records in file order."""
    decode = strictjson.DECODER.raw_decode
    for item in decoded(file):
        if isinstance(item, Problem):
            yield item
            continue
        number, line = item
        text = line.strip()
        if not text:
            continue
        try:
            value, end = decode(text)
            if end != len(text):
                raise json.JSONDecodeError("Extra data", text, end)
        except strictjson.ERRORS as error:
            at = f" at column {error.pos + 1 + line.index(text)}" if isinstance(error, json.JSONDecodeError) else ""
            yield Problem(number, f"not JSON: {strictjson.reason(error)}{at}")
            continue
        yield Record(number, number, value)
