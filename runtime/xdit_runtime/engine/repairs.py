"""Mistakes of xfuser 0.7.0's wrapped pipelines that give wrong pictures or crashes, put right. After the degrees are known to
xfuser, before the pipeline is wrapped.
"""

from functools import wraps
from typing import Any

import torch


def apply() -> None:
    """Repair xfuser, once in a process."""
    from xdit_runtime.engine import sana_split

    _cache_once()
    _keep_patches_together()
    _look_twice()
    _keep_positions()
    sana_split.install()


def _cache_once() -> None:
    """SD3 with PipeFusion and no sequence parallelism keeps keys and values of each patch twice and crashes on the second.

    The processors of attention keep them by themselves when the sequence is not split, so the kernel needs not.
    """
    from xfuser.core.distributed import get_sequence_parallel_world_size
    from xfuser.model_executor.layers import attention_processor, usp

    @wraps(usp.USP)
    def attend(*tensors: Any, attn_layer: object = None, **options: Any) -> Any:  # noqa: ANN401
        if get_sequence_parallel_world_size() > 1:
            options["attn_layer"] = attn_layer
        return usp.USP(*tensors, **options)

    vars(attention_processor)["USP"] = attend


def _keep_patches_together() -> None:
    """Ulysses inside PipeFusion keeps the warm-up's keys and values rank by rank, and overwrites them patch by patch: in the
    first step after the warm-up, patches see some tokens twice and others not at all.
    """
    from xfuser.core.cache_manager.cache_manager import CacheManager
    from xfuser.core.distributed import get_runtime_state, get_ulysses_parallel_world_size

    original = CacheManager._sequence_parallel_cache_update  # noqa: SLF001

    @wraps(original)
    def update(self: Any, new_kv: torch.Tensor, layer: Any, slice_dim: int = 1, layer_type: str = "attn") -> torch.Tensor:  # noqa: ANN401
        kept: torch.Tensor = original(self, new_kv, layer, slice_dim, layer_type)
        state = get_runtime_state()
        if state.patch_mode or state.num_pipeline_patch == 1:
            return kept
        ranks = [
            rank.split(state.pp_patches_token_num, dim=slice_dim)
            for rank in kept.chunk(get_ulysses_parallel_world_size(), dim=slice_dim)
        ]
        ordered = torch.cat([part for patch in zip(*ranks, strict=True) for part in patch], dim=slice_dim)
        self.cache[layer_type, layer].tensors[0] = ordered
        return ordered

    CacheManager._sequence_parallel_cache_update = update  # noqa: SLF001


def _look_twice() -> None:
    """SD3.5 medium's second attention, to the picture without the text, crashes when the sequence is split: a name is unset."""
    from diffusers.models.attention_processor import JointAttnProcessor2_0
    from xfuser.core.distributed import get_sequence_parallel_world_size
    from xfuser.model_executor.layers import attention_processor, usp

    class Attention(attention_processor.xFuserJointAttnProcessor2_0):  # type: ignore[misc]
        def __call__(
            self,
            attn: Any,  # noqa: ANN401
            hidden_states: torch.Tensor,
            encoder_hidden_states: torch.Tensor | None = None,
            *arguments: object,
            **options: object,
        ) -> Any:  # noqa: ANN401
            if encoder_hidden_states is not None or get_sequence_parallel_world_size() == 1:
                return super().__call__(attn, hidden_states, encoder_hidden_states, *arguments, **options)
            query, key, value = (
                project(hidden_states).unflatten(-1, (attn.heads, -1)) for project in (attn.to_q, attn.to_k, attn.to_v)
            )
            query = query if attn.norm_q is None else attn.norm_q(query)
            key = key if attn.norm_k is None else attn.norm_k(key)
            query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
            made = usp.USP(query, key, value, dropout_p=0.0, is_causal=False, attn_layer=attn)
            return attn.to_out[1](attn.to_out[0](made.transpose(1, 2).flatten(2)))

    attention_processor.xFuserAttentionProcessorRegister.register(JointAttnProcessor2_0)(Attention)


def _keep_positions() -> None:
    """After a picture of another size, PixArt's positions stay in double precision and later pictures differ in the last bits.

    diffusers computes them in single precision and for one call only.
    """
    from xfuser.model_executor.layers import embeddings

    positions, forward = embeddings.get_2d_sincos_pos_embed, embeddings.xFuserPatchEmbedWrapper.forward

    @wraps(positions)
    def single(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        return positions(*arguments, **options).float()

    def embed(self: Any, latent: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        module = self.module
        before = (module.height, module.width, module.pos_embed)
        try:
            embedded: torch.Tensor = forward(self, latent)
        finally:
            module.height, module.width, module.pos_embed = before
        return embedded

    vars(embeddings)["get_2d_sincos_pos_embed"] = single
    embeddings.xFuserPatchEmbedWrapper.forward = embed
