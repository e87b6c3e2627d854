"""The kernel that packs heads against its plain version: `TRITON_INTERPRET=1 python flux_kernels.py`. Exits with 1 when they differ."""

import torch

from xdit_runtime.engine.flux import kernels, parts


def angles(tokens: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = torch.randn(tokens, size // 2).repeat_interleave(2, dim=-1)
    return pairs.cos().contiguous(), pairs.sin().contiguous()


def check(heads: int, ranks: int, rank: int, start: int, batch: int, dtype: torch.dtype, allowed: float) -> None:
    tokens, whole, size = 5, 9, 16
    qkv = torch.randn(batch, tokens, 3 * heads * size).to(dtype)
    norms = (torch.rand(size) + 0.5).to(dtype), (torch.rand(size) + 0.5).to(dtype)
    cos, sin = angles(tokens, size)
    shape = (batch, whole, 3, heads // ranks, size)
    out, own = torch.full((ranks, *shape), 7.0).to(dtype), torch.full(shape, 7.0).to(dtype)
    kernels.pack(out, own, rank, start, qkv, norms, cos, sin, heads)
    expected = torch.full((ranks, *shape), 7.0).to(dtype)
    expected[:, :, start : start + tokens] = parts.packed(qkv, *norms, cos, sin, heads, ranks)
    assert (out[rank] == 7).all(), "the own part belongs elsewhere"
    assert (own.float() - expected[rank].float()).abs().max() <= allowed
    out[rank] = own
    assert (out.float() - expected.float()).abs().max() <= allowed, (heads, ranks, rank, start, batch, dtype)


if __name__ == "__main__":
    torch.manual_seed(0)
    check(4, 2, 0, 0, 1, torch.float32, 1e-5)
    check(4, 2, 1, 4, 2, torch.float32, 1e-5)
    check(24, 4, 2, 3, 1, torch.float32, 1e-5)  # 24 is no power of two
    check(6, 1, 0, 0, 2, torch.float32, 1e-5)
    check(24, 3, 1, 2, 2, torch.bfloat16, 0.07)  # a last bit of a number below 8
