"""FLUX.1's transformer with its tokens shared among the ranks of a lane by Ulysses.

Against xfuser's transformer, which stays in use for ring, LoRAs and step caches:
- one message for query, key and value, packed by the kernel that norms and turns them, and no copy after it;
- in single-stream blocks both messages travel while the feed-forward part is computed;
- what depends on the step and not on the picture's state (all 57 modulations, 3 of 12 billion weights) is computed for all
  steps at once: their weights are read once a picture and not once a step;
- a step may be captured as one CUDA graph (`engine.graph`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import nn
from torch.nn import functional as F
from xfuser.core.distributed import (
    get_ring_parallel_world_size,
    get_sequence_parallel_rank,
    get_sequence_parallel_world_size,
    get_sp_group,
)
from xfuser.model_executor.models.transformers.transformer_flux import xFuserFlux1Transformer2DWrapper

from xdit_runtime.engine.flux import parts
from xdit_runtime.engine.graph import StepGraph

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Kernels:
    """The functions of `parts`, compiled or not."""

    modulate: Callable[..., Tensor] = parts.modulate
    pack_two: Callable[..., Tensor] = parts.pack_two
    pack_one: Callable[..., Tensor] = parts.pack_one
    unpacked: Callable[..., Tensor] = parts.unpacked
    after_attention: Callable[..., tuple[Tensor, Tensor]] = parts.after_attention
    after_feed_forward: Callable[..., Tensor] = parts.after_feed_forward
    after_single: Callable[..., Tensor] = parts.after_single

    @classmethod
    def compiled(cls) -> "Kernels":
        """Compiled for the shapes they meet; each shape once."""
        return cls(**{name: torch.compile(getattr(parts, name), dynamic=False) for name in cls.__dataclass_fields__})


class Message:
    """Tensors on their way between the ranks; computing goes on meanwhile."""

    def __init__(self, sent: Tensor, group: dist.ProcessGroup) -> None:
        self._received = torch.empty_like(sent)
        self._sent = sent
        self._work = dist.all_to_all_single(self._received, sent, group=group, async_op=True)

    def wait(self) -> Tensor:
        """The other ranks' parts, in their order."""
        self._work.wait()
        return self._received


@dataclass(frozen=True, slots=True)
class Plan:
    """What stays the same during the steps of a call."""

    modulations: Tensor
    """Steps x B x all shifts, scales and gates."""
    text: Tensor
    """B x s x D, of this rank's tokens; so are cos and sin."""
    cos: Tensor
    sin: Tensor


@dataclass(frozen=True, slots=True)
class Run:
    """What all blocks of a step need."""

    cos: Tensor
    sin: Tensor
    heads: int
    ranks: int
    group: dist.ProcessGroup
    kernels: Kernels


class FastFluxTransformer(xFuserFlux1Transformer2DWrapper):  # type: ignore[misc]
    """See this module."""

    kernels = Kernels()
    captures = False
    """Whether a step becomes a CUDA graph."""

    def fuse(self) -> None:
        """Put the three projections of every attention side by side, once after loading. Takes no more memory."""
        self._graphs: dict[tuple[torch.Size, ...], StepGraph] = {}
        self.begin(None)
        for block in self.transformer_blocks:
            attn = block.attn
            attn.qkv = _side_by_side([attn.to_q, attn.to_k, attn.to_v])
            attn.added_qkv = _side_by_side([attn.add_q_proj, attn.add_k_proj, attn.add_v_proj])
        for block in self.single_transformer_blocks:
            block.attn.qkv = _side_by_side([block.attn.to_q, block.attn.to_k, block.attn.to_v])

    def begin(self, scheduler: Any | None) -> None:
        """A new call of the pipeline, which goes through all steps of `scheduler`; None: through some of them."""
        self._scheduler, self._done = scheduler, 0
        self._plan: Plan | None = None

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        *args: Any,
        timestep: Tensor | None = None,
        img_ids: Tensor | None = None,
        txt_ids: Tensor | None = None,
        **named: Any,
    ) -> Any:
        """As FluxTransformer2DModel's, on every rank with the same arguments."""
        assert encoder_hidden_states is not None
        assert timestep is not None
        assert img_ids is not None
        assert txt_ids is not None
        if not self._fast(hidden_states, encoder_hidden_states, args, named):
            return super().forward(
                hidden_states, encoder_hidden_states, *args, timestep=timestep, img_ids=img_ids, txt_ids=txt_ids, **named
            )
        if self._plan is None:
            steps = timestep[None] if self._scheduler is None else self._scheduler.timesteps[:, None].expand(-1, len(timestep))
            steps = steps if self._scheduler is None else steps.to(hidden_states.dtype) / 1000
            modulations = self._modulations(steps, hidden_states.dtype, named["guidance"], named["pooled_projections"])
            self._plan = Plan(modulations, *self._picture(encoder_hidden_states, txt_ids, img_ids))
        plan = self._plan
        arguments = (hidden_states, plan.modulations[self._done], plan.text, plan.cos, plan.sin)
        sample = self._stepper(arguments)(*arguments)
        if self._scheduler is None:
            self._plan = None
        else:
            self._done += 1
        return Transformer2DModelOutput(sample=sample) if named.get("return_dict", True) else (sample,)

    def _fast(self, image: Tensor, text: Tensor, args: tuple[Any, ...], named: dict[str, Any]) -> bool:
        ranks = get_sequence_parallel_world_size()
        return not (
            get_ring_parallel_world_size() > 1
            or hasattr(self, "peft_config")
            or self.is_cache_enabled
            or image.shape[1] % ranks
            or text.shape[1] % ranks
            or args
            or named.get("controlnet_block_samples") is not None
            or named.get("controlnet_single_block_samples") is not None
            or named.get("joint_attention_kwargs")
        )

    def _stepper(self, arguments: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        if not self.captures:
            return self._step
        key = tuple(argument.shape for argument in arguments)
        if key not in self._graphs:
            self._graphs[key] = StepGraph(self._step, arguments)
        return self._graphs[key]

    def _modulations(self, times: Tensor, dtype: torch.dtype, guidance: Tensor | None, pooled: Tensor) -> Tensor:
        """times: steps x B, from 0 to 1 → steps x B x all shifts, scales and gates of all blocks, in the order of `_step`."""
        count = times.shape[0]
        time, words = times.flatten().to(dtype) * 1000, pooled.repeat(count, 1)
        if guidance is None:
            embedded = self.time_text_embed(time, words)
        else:
            embedded = self.time_text_embed(time, guidance.to(dtype).repeat(count) * 1000, words)
        condition = F.silu(embedded)
        rows = [
            linear(condition) for block in self.transformer_blocks for linear in (block.norm1.linear, block.norm1_context.linear)
        ]
        rows += [block.norm.linear(condition) for block in self.single_transformer_blocks]
        return torch.cat([*rows, self.norm_out.linear(condition)], dim=1).unflatten(0, times.shape)

    def _picture(self, text: Tensor, txt_ids: Tensor, img_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """This rank's embedded text and the angles of its tokens."""
        rank, ranks = get_sequence_parallel_rank(), get_sequence_parallel_world_size()
        cos, sin = self.pos_embed(torch.cat([txt_ids.chunk(ranks)[rank], img_ids.chunk(ranks)[rank]]))
        return self.context_embedder(text.chunk(ranks, 1)[rank]), cos, sin

    def _step(self, latents: Tensor, modulations: Tensor, text: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """B x tokens x channels of all ranks → the same. text, cos, sin: of this rank's tokens."""
        run = Run(
            cos,
            sin,
            self.config.num_attention_heads,
            get_sequence_parallel_world_size(),
            get_sp_group().device_group,
            self.kernels,
        )
        image = self.x_embedder(latents.chunk(run.ranks, 1)[get_sequence_parallel_rank()])
        rest = iter(modulations.split(image.shape[2], dim=1))
        for block in self.transformer_blocks:
            text, image = _double(block, text, image, _take(rest, 6), _take(rest, 6), run)
        both, split = torch.cat([text, image], dim=1), text.shape[1]
        for block in self.single_transformer_blocks:
            both = _single(block, both, _take(rest, 3), run)
        scale, shift = _take(rest, 2)
        out = self.proj_out(run.kernels.modulate(both[:, split:], shift, scale))
        gathered: Tensor = get_sp_group().all_gather(out, dim=1)
        return gathered


def _take(rest: Iterator[Tensor], count: int) -> list[Tensor]:
    return [next(rest) for _ in range(count)]


def _double(
    block: Any,
    text: Tensor,
    image: Tensor,
    mod: list[Tensor],
    text_mod: list[Tensor],
    run: Run,
) -> tuple[Tensor, Tensor]:
    attn, split, kernels = block.attn, text.shape[1], run.kernels
    shift, scale, gate, ff_shift, ff_scale, ff_gate = mod
    text_shift, text_scale, text_gate, text_ff_shift, text_ff_scale, text_ff_gate = text_mod
    qkv = F.linear(kernels.modulate(image, shift, scale), *attn.qkv)
    text_qkv = F.linear(kernels.modulate(text, text_shift, text_scale), *attn.added_qkv)
    text_norms, norms = (attn.norm_added_q.weight, attn.norm_added_k.weight), (attn.norm_q.weight, attn.norm_k.weight)
    sent = kernels.pack_two(text_qkv, qkv, text_norms, norms, run.cos, run.sin, run.heads, run.ranks)
    out = kernels.unpacked(Message(parts.attend(Message(sent, run.group).wait()), run.group).wait())
    image, y = kernels.after_attention(image, attn.to_out[0](out[:, split:]), gate, ff_shift, ff_scale)
    text, z = kernels.after_attention(text, attn.to_add_out(out[:, :split]), text_gate, text_ff_shift, text_ff_scale)
    image = kernels.after_feed_forward(image, _feed_forward(block.ff, y), ff_gate)
    text = kernels.after_feed_forward(text, _feed_forward(block.ff_context, z), text_ff_gate)
    return text, image


def _single(block: Any, x: Tensor, mod: list[Tensor], run: Run) -> Tensor:
    attn, width, kernels = block.attn, x.shape[2], run.kernels
    shift, scale, gate = mod
    y = kernels.modulate(x, shift, scale)
    qkv = F.linear(y, *attn.qkv)
    sent = kernels.pack_one(qkv, attn.norm_q.weight, attn.norm_k.weight, run.cos, run.sin, run.heads, run.ranks)
    there = Message(sent, run.group)
    mlp = parts.gelu_linear(y, block.proj_mlp.weight, block.proj_mlp.bias)
    back = Message(parts.attend(there.wait()), run.group)
    mlp = F.linear(mlp, block.proj_out.weight[:, width:], block.proj_out.bias)
    out = F.linear(kernels.unpacked(back.wait()), block.proj_out.weight[:, :width])
    return kernels.after_single(x, mlp, out, gate)


def _feed_forward(ff: Any, x: Tensor) -> Tensor:
    proj = ff.net[0].proj
    out: Tensor = ff.net[2](parts.gelu_linear(x, proj.weight, proj.bias))
    return out


def _side_by_side(linears: list[nn.Linear]) -> tuple[Tensor, Tensor]:
    """One weight and one bias; those of the modules become views of them."""
    weight = torch.cat([linear.weight.data for linear in linears])
    bias = torch.cat([linear.bias.data for linear in linears])
    for linear, w, b in zip(linears, weight.chunk(len(linears)), bias.chunk(len(linears)), strict=True):
        linear.weight, linear.bias = nn.Parameter(w, requires_grad=False), nn.Parameter(b, requires_grad=False)
    return weight, bias
