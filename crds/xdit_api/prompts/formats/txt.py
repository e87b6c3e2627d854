"""TXT: one prompt a line; empty lines are passed over."""

from collections.abc import Iterator
from typing import BinaryIO

from xdit_api.prompts.formats.record import Record
from xdit_api.prompts.lines import decoded
from xdit_api.prompts.problems import Problem


def read(file: BinaryIO) -> Iterator[Record | Problem]:
    """Records in file order."""
    for item in decoded(file):
        if isinstance(item, Problem):
            yield item
        elif text := item[1].strip():
            yield Record(item[0], item[0], {"prompt": text})
