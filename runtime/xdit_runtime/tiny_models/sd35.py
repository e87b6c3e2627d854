"""A Stable Diffusion 3.5 medium of a few MB: its first layers have a second attention, to the picture alone."""

from typing import Any

from xdit_runtime.tiny_models import sd3


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The StableDiffusion3Pipeline. 4 heads; 4 layers."""
    return sd3.build(seed, dual_attention=(0, 1, 2))
