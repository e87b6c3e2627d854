"""Qwen-Image's transformer with its tokens shared among the ranks of a lane.

xfuser's lets tokens look at what fills text and picture up, does not know the mask of a batch, and does not cut the list that
tells new tokens from those of inputs (2511).
"""

from collections.abc import Sequence
from functools import wraps
from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel
from xfuser.model_executor.models.transformers.transformer_qwen import xFuserQwenDoubleStreamAttnProcessor

from xdit_api.base import Json
from xdit_runtime.engine import sequence
from xdit_runtime.engine.turns import Turns


class _SharedPositions(torch.nn.Module):  # type: ignore[misc]
    """Positions of this rank's tokens."""

    def __init__(self, positions: torch.nn.Module) -> None:
        super().__init__()
        self._positions = positions
        self.joint: sequence.Joint | None = None
        self.text = 0
        """Tokens of text on all ranks."""

    def forward(self, shapes: Any, max_txt_seq_len: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """See QwenEmbedRope; the number that it gets is that of this rank's share."""
        assert self.joint is not None
        picture, text = self._positions(shapes, max_txt_seq_len=self.text, device=device)
        return self.joint.picture(picture, 0), self.joint.text(text, 0)


class SplitQwenTransformer(QwenImageTransformer2DModel):  # type: ignore[misc]
    """diffusers' with xfuser's attention."""

    pos_embed: Any
    turns: Turns | None = None
    """Of the picture that is drawn, with CFG 2 and guidance."""

    # diffusers reads the configuration that a class takes from its signature
    @wraps(QwenImageTransformer2DModel.__init__)  # type: ignore[misc]
    def __init__(self, **config: Any) -> None:
        sequence.install()
        super().__init__(**config)
        self._positions = self.pos_embed = _SharedPositions(self.pos_embed)
        for block in self.transformer_blocks:
            block.attn.processor = xFuserQwenDoubleStreamAttnProcessor()
            if config.get("zero_cond_t"):
                block.register_forward_pre_hook(self._cut_index, with_kwargs=True)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_mask: torch.Tensor | None = None,
        *,
        timestep: torch.Tensor,
        img_shapes: Sequence[Any],
        return_dict: bool = False,
        **others: Any,
    ) -> tuple[torch.Tensor]:
        """B x tokens x channels of the picture and B x tokens x width of the text → B x tokens x channels."""
        assert not return_dict, "pipelines ask for a tuple"

        def compute(changed: Json) -> torch.Tensor:
            texts, mask = changed.get("text", (encoder_hidden_states, encoder_hidden_states_mask))
            # one picture after the other: each has as much text as it has
            return torch.cat(
                [
                    self._one(
                        hidden_states[index : index + 1],
                        texts[index : index + 1] if mask is None else texts[index : index + 1, : int(mask[index].sum())],
                        timestep=timestep[index : index + 1],
                        img_shapes=[img_shapes[index]],
                        **others,
                    )
                    for index in range(len(hidden_states))
                ]
            )

        return (compute({}) if self.turns is None else self.turns.take(compute),)

    def _one(self, picture: torch.Tensor, text: torch.Tensor, **others: Any) -> torch.Tensor:
        joint = sequence.Joint(text.shape[1], picture.shape[1])
        self._positions.joint, self._positions.text = joint, text.shape[1]
        with sequence.laid_out(joint.layout):
            (share,) = super().forward(joint.picture(picture, 1), joint.text(text, 1), None, **others, return_dict=False)
        return joint.whole(share, 1)

    def _cut_index(self, _block: torch.nn.Module, arguments: tuple[Any, ...], named: Json) -> tuple[tuple[Any, ...], Json]:
        joint = self._positions.joint
        assert joint is not None
        return arguments, {**named, "modulate_index": joint.picture(named["modulate_index"], 1)}
