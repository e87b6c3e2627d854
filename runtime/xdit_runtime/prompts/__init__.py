"""The prompts of a job on the output volume: frozen once, then read by position."""

from xdit_runtime.prompts.frozen import FrozenPrompts
from xdit_runtime.prompts.source import PromptFileError, read_source

__all__ = ["FrozenPrompts", "PromptFileError", "read_source"]
