"""Kernels of our own, in triton: for GPUs alone."""

import triton
import triton.language as tl
from torch import Tensor

_EPSILON = 1e-6


@triton.jit
def _turned(x, weight, cos, sin, there, width: tl.constexpr, size: tl.constexpr, epsilon: tl.constexpr):
    """Norm and turn the heads of one token. x: width x size pointers; cos, sin: pointers to the token's pairs."""
    half: tl.constexpr = size // 2
    value = tl.load(x, mask=there, other=0.0)
    kind = value.dtype
    value = value.to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, axis=1) / size + epsilon)[:, None]
    value = (value * scale * tl.load(weight + tl.arange(0, size)).to(tl.float32)[None, :]).to(kind).to(tl.float32)
    # neighbours turn together; both numbers of a pair have the same angle
    real, imaginary = tl.split(tl.reshape(value, (width, half, 2)))
    pair = 2 * tl.arange(0, half)
    c, s = tl.load(cos + pair)[None, :], tl.load(sin + pair)[None, :]
    return tl.reshape(tl.join(real * c - imaginary * s, imaginary * c + real * s), (width, size))


@triton.jit
def _pack(out, own, rank, qkv, norm_q, norm_k, cos, sin, tokens, start, batch,
          heads: tl.constexpr, share: tl.constexpr, width: tl.constexpr, size: tl.constexpr, epsilon: tl.constexpr):  # fmt: skip
    token, picture = tl.program_id(0), tl.program_id(1)
    head = tl.arange(0, width)[:, None]
    column = tl.arange(0, size)[None, :]
    there = head < heads
    source = qkv + (picture * tl.num_programs(0) + token).to(tl.int64) * 3 * heads * size + head * size + column
    receiver = head // share
    inside = (picture * tokens + start + token) * 3 * share * size + (head % share) * size + column
    far = out + (receiver * batch * tokens * 3 * share * size + inside)
    near = own + inside
    elsewhere, here = there & (receiver != rank), there & (receiver == rank)
    kind = out.dtype.element_ty
    cos += token * size
    sin += token * size
    query = _turned(source, norm_q, cos, sin, there, width, size, epsilon).to(kind)
    tl.store(far, query, mask=elsewhere)
    tl.store(near, query, mask=here)
    key = _turned(source + heads * size, norm_k, cos, sin, there, width, size, epsilon).to(kind)
    tl.store(far + share * size, key, mask=elsewhere)
    tl.store(near + share * size, key, mask=here)
    value = tl.load(source + 2 * heads * size, mask=there, other=0.0)
    tl.store(far + 2 * share * size, value, mask=elsewhere)
    tl.store(near + 2 * share * size, value, mask=here)


def pack(
    out: Tensor, own: Tensor, rank: int, start: int, qkv: Tensor, norms: tuple[Tensor, Tensor], cos: Tensor, sin: Tensor, heads: int
) -> None:  # fmt: skip
    """As xdit_runtime.engine.flux.pack.pack. qkv, cos and sin are contiguous, d is a power of two."""
    batch, tokens = qkv.shape[:2]
    ranks, size = out.shape[0], out.shape[-1]
    width = triton.next_power_of_2(heads)
    shape = (heads, heads // ranks, width, size)
    _pack[(tokens, batch)](out, own, rank, qkv, *norms, cos, sin, out.shape[2], start, batch, *shape, _EPSILON, num_warps=8)


@triton.jit
def _wait(flags, count, rank, ranks: tl.constexpr, stride: tl.constexpr):
    wanted = tl.load(count)
    for other in tl.static_range(ranks):
        if other != rank:
            # the difference, so that a count that wraps does no harm
            while wanted - tl.atomic_add(flags + other * stride, 0, sem="acquire", scope="sys") > 0:
                pass
    # the number of the next message
    tl.store(count, wanted + 1)


def wait_for(flags: Tensor, count: Tensor, rank: int) -> None:
    """Queue a wait until every other rank's flag has reached `count`, which then grows by one.

    flags: ranks x any, the first of each row counts.
    """
    _wait[(1,)](flags, count, rank, flags.shape[0], flags.stride(0), num_warps=1)
