"""What test_lossy.py runs."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One engine on one small model."""

    family: str
    engine: dict[str, Any] = field(default_factory=dict)
    degrees: dict[str, int] = field(default_factory=dict)
    threshold: float = 0.6
    """Of the step caches: high enough that steps of a small model with random weights are left out."""
    twice: bool = False
    """Only call the transformer twice with the same."""


TWICE = ("flux", "kontext", "flux2", "flux2_klein", "qwen_image", "sd3", "sd35", "pixart", "z_image")
"""Models of all kinds of blocks that the step caches know."""

CASES = {
    "exact": Case("flux"),
    "int8": Case("flux", {"quantization": "Int8"}),
    "fbcache": Case("flux", {"cache": "FBCache"}),
    "fbcache-never": Case("flux", {"cache": "FBCache"}, threshold=0.0),
    "teacache": Case("flux", {"cache": "TeaCache"}),
    "text-encoder": Case("flux", {"offload": "TextEncoder"}),
    "model": Case("flux", {"offload": "Model"}),
    "ulysses2-int8": Case("flux", {"quantization": "Int8"}, {"ulysses": 2}),
    "ulysses2-fbcache": Case("flux", {"cache": "FBCache"}, {"ulysses": 2}),
    "ulysses2-text-encoder": Case("flux", {"offload": "TextEncoder"}, {"ulysses": 2}),
    "sd3-exact": Case("sd3"),
    "sd3-pipefusion2-int8": Case("sd3", {"quantization": "Int8"}, {"pipefusion": 2}),
    **{f"twice-{family}": Case(family, {"cache": "FBCache"}, threshold=1e-3, twice=True) for family in TWICE},
    "twice-flux-teacache": Case("flux", {"cache": "TeaCache"}, threshold=0.5, twice=True),
}
