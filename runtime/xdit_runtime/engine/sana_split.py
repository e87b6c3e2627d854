"""Sana over several ranks, exactly: linear attention, the feed-forward's convolution, and attention to the text.

xfuser 0.7.0 needs FlashAttention and equal heads for the first, sends rows to the own rank in the second when the sequence is
not split, and forgets in the third which tokens are padding. Linear attention only needs the sum of each rank's keys times
values, a few hundred numbers a head; the convolution needs one row from each neighbour.

A rank holds rows of every patch of PipeFusion (one patch without it); patches are computed one by one after the warm-up, with
what is known of the others from the last step.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from diffusers.models.attention_processor import SanaLinearAttnProcessor2_0
from diffusers.models.transformers.sana_transformer import GLUMBConv, SanaAttnProcessor2_0
from xfuser.core.distributed import get_runtime_state, get_sp_group
from xfuser.model_executor.layers import xFuserLayerBaseWrapper, xFuserLayerWrappersRegister
from xfuser.model_executor.layers.attention_processor import xFuserAttentionProcessorRegister


def install() -> None:
    """Tell xfuser to wrap Sana's layers with those below. Before a pipeline is wrapped."""
    xFuserAttentionProcessorRegister.register(SanaLinearAttnProcessor2_0)(SplitLinearAttention)
    xFuserAttentionProcessorRegister.register(SanaAttnProcessor2_0)(TextAttention)
    xFuserLayerWrappersRegister.register(GLUMBConv)(SplitConvolution)


class TextAttention(SanaAttnProcessor2_0):  # type: ignore[misc]
    """Each token looks at the text by itself: there is nothing to share."""

    def __call__(self, *tensors: Any, latte_temporal_attention: bool = False, **options: Any) -> Any:  # noqa: ANN401, ARG002
        """As diffusers does it."""
        return super().__call__(*tensors, **options)


class SplitLinearAttention(SanaLinearAttnProcessor2_0):  # type: ignore[misc]
    """Attention over the tokens of all ranks."""

    def __init__(self) -> None:
        super().__init__()
        self._sums: list[torch.Tensor] = []
        """Keys times values of this rank's tokens, one for each patch: B x heads x (width of a head + 1) x width of a head."""

    def __call__(self, attn: Any, hidden_states: torch.Tensor, **_options: object) -> torch.Tensor:  # noqa: ANN401
        """B x tokens x width, before and after."""
        dtype = hidden_states.dtype
        query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        query, key, value = (t.transpose(1, 2).unflatten(1, (attn.heads, -1)) for t in (query, key, value))
        query, key, value = F.relu(query).float(), F.relu(key).float().transpose(2, 3), value.float()
        value = F.pad(value, (0, 0, 0, 1), value=1.0)

        state = get_runtime_state()
        if state.patch_mode:
            self._sums[state.pipeline_patch_idx] = value @ key
        else:
            bounds = state.pp_patches_token_start_idx_local
            self._sums = [value[..., start:end] @ key[..., start:end, :] for start, end in pairwise(bounds)]
        scores = torch.stack(self._sums).sum(0)
        group = get_sp_group()
        if group.world_size > 1:
            dist.all_reduce(scores, group=group.device_group)

        made = scores @ query
        made = (made[:, :, :-1] / (made[:, :, -1:] + 1e-15)).flatten(1, 2).transpose(1, 2).to(dtype)
        made = attn.to_out[1](attn.to_out[0](made))
        return made.clip(-65504, 65504) if dtype == torch.float16 else made


class SplitConvolution(xFuserLayerBaseWrapper):  # type: ignore[misc]
    """The feed-forward, in which only one convolution looks one row up and one row down."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__(module=module)
        self._edges: list[list[torch.Tensor]] = []
        """First and last rows (2 x B x C x W) by patch and rank."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """B x C x rows x W, before and after."""
        state = get_runtime_state()
        if state.patch_mode:
            patch = state.pipeline_patch_idx
            (self._edges[patch],) = _edges([hidden_states])
            return self._convolve(patch, hidden_states)
        parts = hidden_states.split(state.pp_patches_height, dim=2)
        self._edges = _edges(list(parts))
        return torch.cat([self._convolve(patch, part) for patch, part in enumerate(parts)], dim=2)

    def _convolve(self, patch: int, rows: torch.Tensor) -> torch.Tensor:
        group = get_sp_group()
        every = [edges for patches in self._edges for edges in patches]
        mine = patch * group.world_size + group.rank_in_group
        above = [every[mine - 1][1].unsqueeze(2)] if mine > 0 else []
        below = [every[mine + 1][0].unsqueeze(2)] if mine + 1 < len(every) else []
        made: torch.Tensor = self.module(torch.cat([*above, rows, *below], dim=2))
        return made[:, :, len(above) : len(above) + rows.shape[2]]


def _edges(parts: list[torch.Tensor]) -> list[list[torch.Tensor]]:
    """First and last rows of each of these parts, on every rank."""
    own = torch.stack([torch.stack((part[:, :, 0], part[:, :, -1])) for part in parts])
    group = get_sp_group()
    everyone = [own]
    if group.world_size > 1:
        everyone = [torch.empty_like(own) for _ in range(group.world_size)]
        dist.all_gather(everyone, own, group=group.device_group)
    return [[rank[patch] for rank in everyone] for patch in range(len(parts))]
