"""xfuser 0.7.0 on a CPU with gloo: Ulysses and ring, for tests, demos and CI.

xfuser asks for an accelerator in a few places and copies the answers while it is imported, so `install` must run before
anything imports it. Works with torch's CPU builds and with CUDA builds on machines without a driver.
"""

import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def install() -> None:
    """Import xfuser, patched. Raises RuntimeError when it was imported without the patches before."""
    if getattr(sys.modules.get("xfuser"), "_on_cpu", False):
        return
    if "xfuser" in sys.modules:
        raise RuntimeError("engine.cpu.install() must run before xfuser is imported")
    with _without_triton():
        _patch_environment()
        import xfuser

        _patch_sequence_parallel()
    vars(xfuser)["_on_cpu"] = True


@contextmanager
def _without_triton() -> Iterator[None]:
    """Let xfuser import GPU-only kernels that need triton's decorator: CPU images do not carry triton."""
    if importlib.util.find_spec("triton") is not None:
        yield
        return
    import torch._dynamo  # noqa: F401 - looks for triton itself and must not see the stand-in

    triton, language = types.ModuleType("triton"), types.ModuleType("triton.language")
    stand_ins = {"triton": triton, "triton.language": language}
    vars(triton).update(jit=lambda function: function, language=language)
    vars(language).update(constexpr=object)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)


def _patch_environment() -> None:
    """Load xfuser.envs alone, below a bare parent package, and patch it before the rest of xfuser copies from it."""
    found = importlib.util.find_spec("xfuser")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("xfuser is not installed", name="xfuser")
    bare = types.ModuleType("xfuser")
    bare.__path__ = list(found.submodule_search_locations)
    sys.modules["xfuser"] = bare
    try:
        from xfuser import envs
    finally:
        del sys.modules["xfuser"]
    answers: dict[str, Any] = {
        "_is_cuda": lambda: False,
        "get_device_version": lambda: None,
        "get_torch_distributed_backend": lambda: "gloo",
    }
    vars(envs).update(answers)
    envs.PACKAGES_CHECKER.packages_info["has_long_ctx_attn"] = True


def _patch_sequence_parallel() -> None:
    import torch
    from xfuser.core.distributed import attention_backend
    from xfuser.model_executor.layers import usp
    from yunchang.globals import PROCESS_GROUP

    usp.PROCESS_GROUP = PROCESS_GROUP

    @attention_backend.register_attention_function(attention_backend.AttentionBackendType.SDPA_FLASH)
    def sdpa_flash(  # type: ignore[no-untyped-def]
        query,
        key,
        value,
        dropout_p,
        is_causal,
        attention_kwargs=None,  # noqa: ARG001
    ):
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, dropout_p, is_causal)  # noqa: SLF001
