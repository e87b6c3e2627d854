"""The arithmetic of FLUX.1's blocks between two messages, as functions of tensors: what `torch.compile` gets to see.

Shapes: B pictures, s tokens of this rank (text first), S tokens of all, h heads of d numbers, D = h x d, P ranks. Every block
of a kind has the same shapes, so that each function is compiled once.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_EPSILON = 1e-6


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights, then scale and shift: B x s x D with B x D."""
    return F.layer_norm(x, x.shape[-1:], eps=_EPSILON) * (1 + scale[:, None]) + shift[:, None]


def _normed(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], weight, _EPSILON)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: B x s x h x d; cos, sin: s x d, each value twice."""
    real, imaginary = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-imaginary, real], dim=-1).flatten(3)
    return (x.float() * cos[None, :, None] + turned * sin[None, :, None]).to(x.dtype)


def packed(qkv: Tensor, norm_q: Tensor, norm_k: Tensor, cos: Tensor, sin: Tensor, heads: int, ranks: int) -> Tensor:
    """B x s x 3D → P x B x s x 3 x h/P x d: queries and keys normed and turned, heads sorted by the rank that will have them."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).unbind(2)
    q, k = _rotated(_normed(q, norm_q), cos, sin), _rotated(_normed(k, norm_k), cos, sin)
    return torch.stack([q, k, v], dim=2).unflatten(3, (ranks, heads // ranks)).permute(3, 0, 1, 2, 4, 5)


def unpacked(gathered: Tensor) -> Tensor:
    """P x B x s x h/P x d → B x s x D: the heads of all ranks for the tokens of this one."""
    return gathered.permute(1, 2, 0, 3, 4).flatten(2)


def after_attention(x: Tensor, out: Tensor, gate: Tensor, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Add the attention's output; the sum, and the input of the feed-forward part."""
    x = x + gate[:, None] * out
    return x, modulate(x, shift, scale)


def after_feed_forward(x: Tensor, out: Tensor, gate: Tensor, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Add the feed-forward part's output; the sum, and the input of the next block."""
    x = clipped(x + gate[:, None] * out)
    return x, modulate(x, shift, scale)


def after_last_feed_forward(x: Tensor, out: Tensor, gate: Tensor) -> Tensor:
    """Add the feed-forward part's output of the last double-stream block."""
    return clipped(x + gate[:, None] * out)


def after_single(x: Tensor, mlp: Tensor, out: Tensor, gate: Tensor, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Add both outputs of a single-stream block; the sum, and the input of what comes next."""
    x = clipped(x + gate[:, None] * (mlp + out))
    return x, modulate(x, shift, scale)


def clipped(x: Tensor) -> Tensor:
    """Within float16's range, as diffusers does."""
    return x.clip(-65504, 65504) if x.dtype == torch.float16 else x


def gelu_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """gelu(x @ weight.T + bias) with tanh's approximation, in one kernel on a GPU."""
    return torch._addmm_activation(bias, x.flatten(0, -2), weight.t(), use_gelu=True).unflatten(0, x.shape[:-1])  # noqa: SLF001


def attend(gathered: Tensor) -> Tensor:
    """P x B x s x 3 x h/P x d of all ranks → P x B x s x h/P x d: attention of this rank's heads over all tokens."""
    ranks, batch, tokens = gathered.shape[:3]
    q, k, v = gathered.permute(3, 1, 4, 0, 2, 5).flatten(3, 4).unbind(0)  # B x h/P x S x d, no copy for one picture
    out = F.scaled_dot_product_attention(q, k, v)
    return (
        out.transpose(1, 2)
        .unflatten(1, (ranks, tokens))
        .transpose(0, 1)
        .contiguous()
        .view(ranks, batch, tokens, *out.shape[1::2])
    )
