"""Noise that a scheduler adds while it denoises (DDPM, ancestral and consistency samplers): when ranks share one picture,
each draws all of it and takes its part. xfuser lets every rank draw the first part.
"""

import sys
from typing import Any

import torch


class SharedNoise:
    """The source of noise of a wrapped pipeline's scheduler."""

    def __init__(self, scheduler: Any) -> None:  # noqa: ANN401 - diffusers is not typed
        self._size = (0, 0)
        self._whole: torch.Tensor | None = None
        # xfuser's own version of it, when it has one, and diffusers'
        for kind in (type(scheduler), type(getattr(scheduler, "module", scheduler))):
            module = vars(sys.modules[kind.__module__])
            if "randn_tensor" in module:
                module["randn_tensor"] = self._part

    def begin(self, height: int, width: int) -> None:
        """A picture of height x width pixels follows."""
        self._size = (height, width)
        self._whole = None

    def _part(self, shape: Any, generator: Any = None, device: Any = None, dtype: Any = None, **_options: object) -> torch.Tensor:  # noqa: ANN401
        """This rank's rows of the noise for all of the latents, B x C x H x W; other shapes as they are asked for."""
        from diffusers.utils.torch_utils import randn_tensor
        from xfuser.core.distributed import get_runtime_state

        if len(shape) != 4:
            alone: torch.Tensor = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
            return alone
        state = get_runtime_state()
        rows = state.pp_patches_start_end_idx_global
        if state.patch_mode:
            rows = rows[state.pipeline_patch_idx : state.pipeline_patch_idx + 1]
        if self._whole is None or not state.patch_mode or state.pipeline_patch_idx == 0:
            height, width = (pixels // state.vae_scale_factor for pixels in self._size)
            self._whole = randn_tensor((*shape[:2], height, width), generator=generator, device=device, dtype=dtype)
        return torch.cat([self._whole[:, :, start:end] for start, end in rows], dim=2)
