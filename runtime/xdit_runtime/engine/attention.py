"""Which attention kernel runs. Always named, never left to a library: its choice could differ between ranks and versions,
and ring refuses some of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Wanted = Literal["Auto", "CUDNN", "Flash", "Flash3", "SDPA"]


@dataclass(frozen=True, slots=True)
class Attention:
    """One kernel by its names."""

    xfuser: str
    """In xfuser.core.distributed.attention_backend.AttentionBackendType."""
    torch: tuple[str, ...]
    """In torch.nn.attention.SDPBackend: the kernel, and those that take its place where it does not fit (the VAE's one head of
    512 numbers); empty: torch has only one.
    """


_CUDNN = Attention("CUDNN", ("CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH"))
_FLASH = Attention("SDPA_FLASH", ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH"))
_EFFICIENT = Attention("SDPA_EFFICIENT", ("EFFICIENT_ATTENTION", "MATH"))
_SDPA = Attention("SDPA", ())
_CPU = Attention("SDPA_FLASH", ())
"""On a CPU the only kernel of torch that also returns what ring needs; torch itself picks the same one."""


@contextmanager
def use(attention: Attention) -> Iterator[None]:
    """Inside, torch's scaled_dot_product_attention runs that kernel."""
    if not attention.torch:
        yield
        return
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel([getattr(SDPBackend, name) for name in attention.torch], set_priority=True):
        yield


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
