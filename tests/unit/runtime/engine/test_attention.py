from typing import Literal, get_args

import pytest

from xdit_runtime.engine.attention import Wanted, choose

Device = Literal["cuda", "cpu"]
HOPPER, AMPERE, TURING, NONE = (9, 0), (8, 0), (7, 5), (0, 0)


@pytest.mark.parametrize(
    ("wanted", "device", "dtype", "capability", "xfuser", "first"),
    [
        ("Auto", "cpu", "float32", NONE, "SDPA_FLASH", None),
        ("Auto", "cuda", "bfloat16", HOPPER, "CUDNN", "CUDNN_ATTENTION"),
        ("Auto", "cuda", "bfloat16", (10, 0), "CUDNN", "CUDNN_ATTENTION"),
        ("Auto", "cuda", "float16", AMPERE, "SDPA_FLASH", "FLASH_ATTENTION"),
        ("Auto", "cuda", "float16", TURING, "SDPA_EFFICIENT", "EFFICIENT_ATTENTION"),
        ("Auto", "cuda", "float32", HOPPER, "SDPA_EFFICIENT", "EFFICIENT_ATTENTION"),
        ("Flash", "cuda", "bfloat16", HOPPER, "SDPA_FLASH", "FLASH_ATTENTION"),
        ("CUDNN", "cuda", "bfloat16", AMPERE, "CUDNN", "CUDNN_ATTENTION"),
        ("SDPA", "cuda", "bfloat16", HOPPER, "SDPA", None),
    ],
)
def test_kernel(
    wanted: Wanted,
    device: Device,
    dtype: str,
    capability: tuple[int, int],
    xfuser: str,
    first: str | None,
) -> None:
    chosen = choose(wanted, device=device, dtype=dtype, capability=capability)
    assert chosen.xfuser == xfuser
    assert (chosen.torch[0] if chosen.torch else None) == first


def test_the_names_exist() -> None:
    """In the libraries that are installed: a rename there must not wait for a GPU to be found."""
    from torch.nn.attention import SDPBackend

    chosen = [
        choose(wanted, device=device, dtype=dtype, capability=capability)
        for wanted in get_args(Wanted)
        for device in get_args(Device)
        for dtype in ("bfloat16", "float32")
        for capability in (HOPPER, AMPERE, TURING)
    ]
    assert {name for kernel in chosen for name in kernel.torch} <= set(SDPBackend.__members__)
    from xdit_runtime.engine import cpu

    cpu.install()
    from xfuser.core.distributed.attention_backend import ATTENTION_FUNCTION_REGISTRY, AttentionBackendType

    for kernel in chosen:
        assert AttentionBackendType[kernel.xfuser] in ATTENTION_FUNCTION_REGISTRY
