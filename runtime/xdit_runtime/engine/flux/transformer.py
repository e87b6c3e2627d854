"""FLUX.1's transformer with its tokens shared among the ranks of a lane by Ulysses.

Against xfuser's transformer, which stays in use for ring, LoRAs and step caches:
- one message for query, key and value, packed by the kernel that norms and turns them, and no copy after it;
- in single-stream blocks both messages travel while the feed-forward part is computed;
- what depends on the step and not on the picture's state (all 57 modulations, 3 of 12 billion weights) is computed for all
  steps at once: their weights are read once a picture and not once a step;
- a step may be captured as one CUDA graph (`engine.graph`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor, nn
from torch.nn import functional as F
from xfuser.core.distributed import (
    get_ring_parallel_world_size,
    get_sequence_parallel_rank,
    get_sequence_parallel_world_size,
    get_sp_group,
)
from xfuser.model_executor.models.transformers.transformer_flux import xFuserFlux1Transformer2DWrapper

from xdit_runtime.engine.flux import parts
from xdit_runtime.engine.flux.courier import Courier, Letter
from xdit_runtime.engine.flux.pack import pack
from xdit_runtime.engine.graph import StepGraph


@dataclass(frozen=True, slots=True)
class Kernels:
    """The functions of `parts` that `torch.compile` makes faster, compiled or not."""

    modulate: Callable[..., Tensor] = parts.modulate
    unpacked: Callable[..., Tensor] = parts.unpacked
    after_attention: Callable[..., tuple[Tensor, Tensor]] = parts.after_attention
    after_feed_forward: Callable[..., tuple[Tensor, Tensor]] = parts.after_feed_forward
    after_last_feed_forward: Callable[..., Tensor] = parts.after_last_feed_forward
    after_single: Callable[..., tuple[Tensor, Tensor]] = parts.after_single

    @classmethod
    def compiled(cls) -> "Kernels":
        """Compiled for the shapes they meet; each shape once."""
        return cls(**{name: torch.compile(getattr(parts, name), dynamic=False) for name in cls.__dataclass_fields__})


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
    courier: Courier
    kernels: Kernels

    def heads_of(self, x: Tensor, tokens: int) -> Letter:
        """A letter for queries, keys and values of `tokens` tokens of this rank. x: B x any x D."""
        batch, _, width = x.shape
        shape = (self.ranks, batch, tokens, 3, self.heads // self.ranks, width // self.heads)
        return self.courier.letter(shape, x)

    def pack(self, letter: Letter, start: int, qkv: Tensor, norms: tuple[Tensor, Tensor]) -> None:
        """Put the tokens from `start` on into a letter."""
        stop = start + qkv.shape[1]
        cos, sin = self.cos[start:stop], self.sin[start:stop]
        pack(letter.parts, letter.own, self.courier.rank, start, qkv, norms, cos, sin, self.heads)


class FastFluxTransformer(xFuserFlux1Transformer2DWrapper):  # type: ignore[misc]
    """See this module."""

    kernels = Kernels()
    fused = False
    """Whether `fuse` was called; else it computes as xfuser's does."""
    captures = False
    """Whether a step of the next call is a CUDA graph."""

    def fuse(self, courier: Courier) -> None:
        """Put the three projections of every attention side by side, once after loading. Takes no more memory."""
        self.fused = True
        self._courier = courier
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
            times = timestep[None]
            if self._scheduler is not None:
                times = self._scheduler.timesteps[:, None].expand(-1, len(timestep)).to(hidden_states.dtype) / 1000
            modulations = self._modulations(times, hidden_states.dtype, named["guidance"], named["pooled_projections"])
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
        return self.fused and not (
            get_ring_parallel_world_size() > 1
            or hasattr(self, "peft_config")
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
        rank, ranks, kernels = get_sequence_parallel_rank(), get_sequence_parallel_world_size(), self.kernels
        run = Run(cos, sin, self.config.num_attention_heads, ranks, self._courier, kernels)
        image = self.x_embedder(latents.chunk(ranks, 1)[rank])
        mods = modulations.split(image.shape[2], dim=1)
        doubles, singles = len(self.transformer_blocks), len(self.single_transformer_blocks)
        double = [(mods[12 * n : 12 * n + 6], mods[12 * n + 6 : 12 * n + 12]) for n in range(doubles)]
        # scale and shift change places in the last norm
        single = [*(mods[12 * doubles + 3 * n :][:3] for n in range(singles)), (mods[-1], mods[-2])]
        image_in, text_in = kernels.modulate(image, *double[0][0][:2]), kernels.modulate(text, *double[0][1][:2])
        for n, block in enumerate(self.transformer_blocks):
            (_, _, gate, ff_shift, ff_scale, ff_gate), (_, _, text_gate, text_ff_shift, text_ff_scale, text_ff_gate) = double[n]
            letter = run.heads_of(image, text.shape[1] + image.shape[1])
            _image_heads(block, letter, text.shape[1], image_in, run)
            # beside the image's heads on their way: the text, with what the block before left to do
            if n > 0:
                ff = _feed_forward(self.transformer_blocks[n - 1].ff_context, text_in)
                text, text_in = kernels.after_feed_forward(text, ff, double[n - 1][1][5], *double[n][1][:2])
            _text_heads(block, letter, text_in, run)
            image_out, text_out = _attention(block, letter, text.shape[1], run)
            image, image_in = kernels.after_attention(image, image_out, gate, ff_shift, ff_scale)
            text, text_in = kernels.after_attention(text, text_out, text_gate, text_ff_shift, text_ff_scale)
            ff = _feed_forward(block.ff, image_in)
            if n + 1 < doubles:
                image, image_in = kernels.after_feed_forward(image, ff, ff_gate, *double[n + 1][0][:2])
            else:
                image = kernels.after_last_feed_forward(image, ff, ff_gate)
                text = kernels.after_last_feed_forward(text, _feed_forward(block.ff_context, text_in), text_ff_gate)
        both, split = torch.cat([text, image], dim=1), text.shape[1]
        both_in = kernels.modulate(both, *single[0][:2])
        for n, block in enumerate(self.single_transformer_blocks):
            mlp, out = _single(block, both_in, run)
            both, both_in = kernels.after_single(both, mlp, out, single[n][2], *single[n + 1][:2])
        gathered: Tensor = get_sp_group().all_gather(self.proj_out(both_in[:, split:]), dim=1)
        return gathered


def _image_heads(block: Any, letter: Letter, start: int, image: Tensor, run: Run) -> None:
    attn, stop = block.attn, start + image.shape[1]
    norms = attn.norm_q.weight, attn.norm_k.weight
    run.pack(letter, start, F.linear(image, *attn.qkv), norms)
    letter.post(start, stop)


def _text_heads(block: Any, letter: Letter, text: Tensor, run: Run) -> None:
    attn = block.attn
    norms = attn.norm_added_q.weight, attn.norm_added_k.weight
    run.pack(letter, 0, F.linear(text, *attn.added_qkv), norms)
    letter.post(0, text.shape[1])


def _attention(block: Any, letter: Letter, split: int, run: Run) -> tuple[Tensor, Tensor]:
    """Attention of a double-stream block: image's and text's output."""
    out = run.kernels.unpacked(run.courier.send(parts.attend(letter.wait())).wait())
    return block.attn.to_out[0](out[:, split:]), block.attn.to_add_out(out[:, :split])


def _single(block: Any, x: Tensor, run: Run) -> tuple[Tensor, Tensor]:
    """Outputs of the feed-forward part and of attention of a single-stream block for the modulated tokens of this rank.

    Both messages travel beside a matrix product.
    """
    attn, width = block.attn, x.shape[2]
    there = run.heads_of(x, x.shape[1])
    run.pack(there, 0, F.linear(x, *attn.qkv), (attn.norm_q.weight, attn.norm_k.weight))
    there.post(0, x.shape[1])
    mlp = parts.gelu_linear(x, block.proj_mlp.weight, block.proj_mlp.bias)
    back = run.courier.send(parts.attend(there.wait()))
    mlp = F.linear(mlp, block.proj_out.weight[:, width:], block.proj_out.bias)
    return mlp, F.linear(run.kernels.unpacked(back.wait()), block.proj_out.weight[:, :width])


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
