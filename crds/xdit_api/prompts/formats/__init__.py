"""How each format becomes records: the values of one prompt, not yet checked, and the place where they stand."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from xdit_api.job import PromptFormat
from xdit_api.prompts.formats import json_list, jsonl, table, txt
from xdit_api.prompts.formats.record import Record
from xdit_api.prompts.problems import Problem

READERS: dict[PromptFormat, Callable[[BinaryIO], Iterator[Record | Problem]]] = {
    "jsonl": jsonl.read,
    "json": json_list.read,
    "txt": txt.read,
    "csv": table.read,
}

__all__ = ["READERS", "Record"]
