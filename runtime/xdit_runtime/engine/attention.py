"""Which attention kernel runs. Always named, never left to a library: its choice could differ between ranks and versions,
and ring refuses some of them.
"""

from dataclasses import dataclass
from typing import Literal

Wanted = Literal["Auto", "CUDNN", "Flash", "Flash3", "SDPA"]


@dataclass(frozen=True, slots=True)
class Attention:
    """One kernel by its two names."""

    xfuser: str
    """Name in xfuser.core.distributed.attention_backend.AttentionBackendType."""
    diffusers: str
    """Name in diffusers.models.attention_dispatch.AttentionBackendName."""


_CUDNN = Attention("CUDNN", "_native_cudnn")
_FLASH = Attention("SDPA_FLASH", "_native_flash")
_EFFICIENT = Attention("SDPA_EFFICIENT", "_native_efficient")
_SDPA = Attention("SDPA", "native")
_CPU = Attention("SDPA_FLASH", "native")
"""On a CPU the only kernel of torch that also returns what ring needs; `native` picks the same one."""


def choose(wanted: Wanted, *, device: Literal["cuda", "cpu"], dtype: str, capability: tuple[int, int]) -> Attention:
    """The kernel for a job's engine.attention.

    capability: compute capability of the GPU, (0, 0) on a CPU. Auto is the fastest exact kernel: cuDNN from Hopper on,
    torch's FlashAttention-2 on Ampere and Ada, its memory-efficient kernel on older GPUs and for float32. All of these
    work with Ulysses and ring. What cannot work is refused by options.unsupported.
    """
    if device == "cpu":
        return _CPU
    if wanted == "SDPA":
        return _SDPA
    if wanted == "CUDNN":
        return _CUDNN
    if dtype == "float32" or capability < (8, 0):
        return _EFFICIENT
    if wanted == "Flash" or capability < (9, 0):
        return _FLASH
    return _CUDNN
