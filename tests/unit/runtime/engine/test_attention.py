from typing import Literal, get_args

import pytest

from xdit_runtime.engine.attention import Wanted, choose

Device = Literal["cuda", "cpu"]
HOPPER, AMPERE, TURING, NONE = (9, 0), (8, 0), (7, 5), (0, 0)


@pytest.mark.parametrize(
    ("wanted", "device", "dtype", "capability", "xfuser", "diffusers"),
    [
        ("Auto", "cpu", "float32", NONE, "SDPA_FLASH", "native"),
        ("Auto", "cuda", "bfloat16", HOPPER, "CUDNN", "_native_cudnn"),
        ("Auto", "cuda", "bfloat16", (10, 0), "CUDNN", "_native_cudnn"),
        ("Auto", "cuda", "float16", AMPERE, "SDPA_FLASH", "_native_flash"),
        ("Auto", "cuda", "float16", TURING, "SDPA_EFFICIENT", "_native_efficient"),
        ("Auto", "cuda", "float32", HOPPER, "SDPA_EFFICIENT", "_native_efficient"),
        ("Flash", "cuda", "bfloat16", HOPPER, "SDPA_FLASH", "_native_flash"),
        ("CUDNN", "cuda", "bfloat16", AMPERE, "CUDNN", "_native_cudnn"),
        ("SDPA", "cuda", "bfloat16", HOPPER, "SDPA", "native"),
    ],
)
def test_kernel(
    wanted: Wanted,
    device: Device,
    dtype: str,
    capability: tuple[int, int],
    xfuser: str,
    diffusers: str,
) -> None:
    chosen = choose(wanted, device=device, dtype=dtype, capability=capability)
    assert (chosen.xfuser, chosen.diffusers) == (xfuser, diffusers)


def test_the_names_exist() -> None:
    """In the libraries that are installed: a rename there must not wait for a GPU to be found."""
    from diffusers.models.attention_dispatch import AttentionBackendName

    chosen = [
        choose(wanted, device=device, dtype=dtype, capability=capability)
        for wanted in get_args(Wanted)
        for device in get_args(Device)
        for dtype in ("bfloat16", "float32")
        for capability in (HOPPER, AMPERE, TURING)
    ]
    assert {kernel.diffusers for kernel in chosen} <= {name.value for name in AttentionBackendName}
    from xdit_runtime.engine import cpu

    cpu.install()
    from xfuser.core.distributed.attention_backend import ATTENTION_FUNCTION_REGISTRY, AttentionBackendType

    for kernel in chosen:
        assert AttentionBackendType[kernel.xfuser] in ATTENTION_FUNCTION_REGISTRY
