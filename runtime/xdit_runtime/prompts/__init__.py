"""The prompts of a job on the output volume: frozen once, then read by position."""

from xdit_runtime.prompts.freezing import freeze
from xdit_runtime.prompts.frozen import FrozenPrompts, Shape, read_table, table_of
from xdit_runtime.prompts.source import PromptFileError, read_source

__all__ = ["FrozenPrompts", "PromptFileError", "Shape", "freeze", "read_source", "read_table", "table_of"]
