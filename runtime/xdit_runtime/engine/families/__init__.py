"""The families of models that the engines know, by the class that model_index.json names.

This package imports torch; what preflight and planner need of a family is data in xdit_api.catalogue.
"""

import importlib

from xdit_runtime.engine.families.base import Family

_FAMILIES = {
    "flux": ("flux", "Flux"),
    "sd3": ("sd3", "SD3"),
    "sdxl": ("sdxl", "SDXL"),
    "pixart": ("pixart", "PixArt"),
    "hunyuandit": ("hunyuandit", "HunyuanDiT"),
    "sana": ("sana", "Sana"),
    "lumina2": ("lumina2", "Lumina2"),
    "kontext": ("kontext", "Kontext"),
    "flux2": ("flux2", "Flux2"),
    "flux2_klein": ("flux2", "Flux2Klein"),
    "qwen_image": ("qwen", "QwenImage"),
    "qwen_edit": ("qwen", "QwenEdit"),
    "qwen_edit_plus": ("qwen", "QwenEditPlus"),
    "z_image": ("zimage", "ZImage"),
}
"""Family of the catalogue → module and class."""


def family_of(name: str) -> Family:
    """The family of that name in the catalogue. Raises KeyError for one without a module."""
    module, kind = _FAMILIES[name]
    made: Family = getattr(importlib.import_module(f"{__name__}.{module}"), kind)()
    return made
