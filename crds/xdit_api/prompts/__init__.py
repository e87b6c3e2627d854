"""Prompt files: JSONL, JSON, TXT and CSV, every problem with its line number.

Pure: bytes in, prompts and problems out. The operator calls it on what the API shows, the worker on files.
"""

from xdit_api.prompts.checks import FIELDS, MAX_PROMPT, Setting, resolve
from xdit_api.prompts.parse import check, inline_jsonl, parse, same_id
from xdit_api.prompts.problems import MAX_PROBLEMS, Problem, shown, summary
from xdit_api.prompts.record import Prompt, image_names, image_seed

__all__ = [
    "FIELDS",
    "MAX_PROBLEMS",
    "MAX_PROMPT",
    "Problem",
    "Prompt",
    "Setting",
    "check",
    "image_names",
    "image_seed",
    "inline_jsonl",
    "parse",
    "resolve",
    "same_id",
    "shown",
    "summary",
]
