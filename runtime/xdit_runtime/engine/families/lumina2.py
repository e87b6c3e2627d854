"""Lumina 2."""

from xdit_runtime.engine.families.guided import MaskedText


class Lumina2(MaskedText):
    """Lumina2Pipeline: Gemma's 256 tokens after the system prompt."""

    name = "lumina2"
