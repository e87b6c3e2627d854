"""Z-Image's transformer with its tokens shared among the ranks of a lane, and its two halves with CFG 2.

xfuser's does not take the arguments that this version of diffusers hands over, and ignores the mask of texts of unequal length.
"""

from collections.abc import Sequence
from functools import wraps
from typing import Any

import torch
from diffusers import ZImageTransformer2DModel
from xfuser.core.distributed import (
    get_cfg_group,
    get_classifier_free_guidance_rank,
    get_classifier_free_guidance_world_size,
)
from xfuser.model_executor.models.transformers.transformer_z_image import xFuserZSingleStreamAttnProcessor

from xdit_runtime.engine import sequence

_MANY = 720720
"""Whatever it is divided by, up to 16, nothing is left."""


class _Stage:
    """Blocks that follow each other: the tokens are cut before the first and joined after the last."""

    def __init__(self, blocks: Sequence[torch.nn.Module]) -> None:
        self._cut: sequence.Cut | None = None
        self._first = blocks[0]
        for block in blocks:
            block.attention.processor = xFuserZSingleStreamAttnProcessor()
            block.register_forward_pre_hook(self._before)
        blocks[-1].register_forward_hook(self._after)

    def _before(self, block: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        tokens, mask, positions, *others = arguments
        assert mask is None, "one picture at a time has no mask"
        if block is self._first:
            self._cut = sequence.Cut(tokens.shape[1])
            sequence.lay_out(sequence.Layout(fill=self._cut.fill))
            tokens = self._cut.share(tokens, 1)
        assert self._cut is not None
        return tokens, None, self._cut.share(positions, 1), *others

    def _after(self, _block: torch.nn.Module, _arguments: object, tokens: torch.Tensor) -> torch.Tensor:
        assert self._cut is not None
        return self._cut.whole(tokens, 1)


class SplitZImageTransformer(ZImageTransformer2DModel):  # type: ignore[misc]
    """diffusers' with xfuser's attention."""

    pictures = 1
    """How many are drawn; the pipeline hands over twice as many when there is guidance."""

    # diffusers reads the configuration that a class takes from its signature
    @wraps(ZImageTransformer2DModel.__init__)  # type: ignore[misc]
    def __init__(self, **config: Any) -> None:
        sequence.install()
        super().__init__(**config)
        # xfuser asks here whether Ulysses divides the heads; its attention fills them up
        self.register_to_config(num_attention_heads=_MANY)
        self._stages = [_Stage(blocks) for blocks in (self.noise_refiner, self.context_refiner, self.layers)]

    def forward(
        self,
        x: list[torch.Tensor],
        t: torch.Tensor,
        cap_feats: list[torch.Tensor],
        *,
        return_dict: bool = False,
        **others: Any,
    ) -> tuple[list[torch.Tensor]]:
        """Pictures of channels x 1 x height x width, with a time and a text of tokens x width each."""
        assert not return_dict, "pipelines ask for a tuple"
        mine = list(range(len(x)))
        halves = get_classifier_free_guidance_world_size() == 2 and len(x) == 2 * self.pictures
        if halves:
            mine = mine[self.pictures :] if get_classifier_free_guidance_rank() else mine[: self.pictures]
        with sequence.laid_out(sequence.Layout()):
            made = [
                super(SplitZImageTransformer, self).forward(
                    [x[index]], t[index : index + 1], [cap_feats[index]], return_dict=False, **others
                )[0][0]
                for index in mine
            ]
        if halves:
            made = list(get_cfg_group().all_gather(torch.stack(made), dim=0).unbind())
        return (made,)
