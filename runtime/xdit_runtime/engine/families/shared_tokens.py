"""What the split transformers of FLUX.1 and FLUX.2 have in common: their tokens come in with their positions."""

from typing import Any

import torch
from xfuser.core.distributed import get_runtime_state

from xdit_api.base import Json
from xdit_runtime.engine import sequence
from xdit_runtime.engine.turns import Turns


class SharedTokens:
    """Put before a transformer of diffusers: each rank computes its share of the tokens, all have the result."""

    turns: Turns | None = None
    """Of the picture that is drawn, with CFG 2 and guidance."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        *,
        img_ids: torch.Tensor,
        txt_ids: torch.Tensor,
        return_dict: bool = False,
        **others: Any,
    ) -> tuple[torch.Tensor]:
        """B x tokens x channels of the picture and B x tokens x width of the text → B x tokens x channels."""
        assert not return_dict, "pipelines ask for a tuple"

        def compute(changed: Json) -> torch.Tensor:
            text = changed.get("text", encoder_hidden_states)
            joint = sequence.Joint(text.shape[1], hidden_states.shape[1])
            # xfuser's attention takes apart what was not cut only when it knows that
            get_runtime_state().split_text_embed_in_sp = joint.layout.front == 0
            with sequence.laid_out(joint.layout):
                (share,) = super(SharedTokens, self).forward(  # type: ignore[misc]
                    joint.picture(hidden_states, 1),
                    joint.text(text, 1),
                    img_ids=joint.picture(img_ids, -2),
                    txt_ids=joint.text(txt_ids, -2),
                    return_dict=False,
                    **others,
                )
            return joint.whole(share, 1)

        return (compute({}) if self.turns is None else self.turns.take(compute),)
