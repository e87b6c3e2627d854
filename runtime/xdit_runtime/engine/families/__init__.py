"""The families of models that the engines know, by the class that model_index.json names.

This package imports torch; what preflight and planner need of a family is data in xdit_api.catalogue.
"""

import importlib

from xdit_runtime.engine.families.base import Family

_FAMILIES = {
    "flux": ("flux", "Flux"),
}
"""Family of the catalogue → module and class."""


def family_of(name: str) -> Family:
    """The family of that name in the catalogue. Raises KeyError for one without a module."""
    module, kind = _FAMILIES[name]
    made: Family = getattr(importlib.import_module(f"{__name__}.{module}"), kind)()
    return made
