"""A UNet whose two halves of classifier-free guidance run on two ranks at the same time.

xfuser has this for one picture at a time and only with guidance; this one knows batches and calls without guidance.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from xdit_api.base import Json
from xdit_runtime.engine import vae
from xdit_runtime.engine.base import Request, World
from xdit_runtime.engine.groups import bounded
from xdit_runtime.engine.splitting import Plain


class Halves(Plain):
    """The plain pipeline of diffusers on both ranks. Rank 0 computes what the negative prompt says, and decodes."""

    source = 0

    def __init__(self, world: World, pipeline: Any) -> None:  # noqa: ANN401 - diffusers is not typed
        self._rank = world.rank
        with bounded(world.timeout):
            self._group = dist.new_group()
        self._pipeline = pipeline
        self._whole = pipeline.unet.forward
        pipeline.unet.forward = self._half
        if world.rank != self.source:
            vae.leave_decoding_to_others(pipeline.vae)

    def run(self, pipeline: Any, requests: Sequence[Request], arguments: Json) -> torch.Tensor | None:  # noqa: ANN401, ARG002
        """See Splitting."""
        images: torch.Tensor = pipeline(**arguments).images
        return images

    def _half(
        self,
        sample: torch.Tensor,
        timestep: Any,  # noqa: ANN401
        encoder_hidden_states: torch.Tensor,
        added_cond_kwargs: dict[str, torch.Tensor],
        **options: Any,  # noqa: ANN401
    ) -> tuple[torch.Tensor]:
        """The UNet's forward, in place of it: on the own half of the rows, then both halves."""

        def call(mine: slice) -> tuple[torch.Tensor]:
            added = {name: tensor[mine] for name, tensor in added_cond_kwargs.items()}
            made: tuple[torch.Tensor] = self._whole(
                sample[mine],
                timestep,
                encoder_hidden_states=encoder_hidden_states[mine],
                added_cond_kwargs=added,
                **options,
            )
            return made

        if not self._pipeline.do_classifier_free_guidance:
            return call(slice(None))
        rows = sample.shape[0] // 2
        (made,) = call(slice(self._rank * rows, (self._rank + 1) * rows))
        both = [torch.empty_like(made) for _ in range(2)]
        dist.all_gather(both, made.contiguous(), group=self._group)
        return (torch.cat(both),)
