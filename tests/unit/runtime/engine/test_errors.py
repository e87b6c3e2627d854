import errno

import pytest
import torch
import torch.distributed as dist
from safetensors import SafetensorError

from xdit_api.report import Exit
from xdit_runtime.engine.base import PlanError
from xdit_runtime.engine.errors import Phase, classify, sentence
from xdit_runtime.ledger import OutputVolumeError
from xdit_runtime.ledger.identity import IdentityMismatchError
from xdit_runtime.prompts import PromptFileError

CASES: list[tuple[BaseException, Phase, Exit]] = [
    (PlanError("height 250"), "work", Exit.INVALID_PLAN),
    (OutputVolumeError("no space left"), "work", Exit.OUTPUT_VOLUME),
    (IdentityMismatchError("weights a there, b here"), "start", Exit.IDENTITY_MISMATCH),
    (PromptFileError("line 3", []), "start", Exit.INVALID_PROMPTS),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "work", Exit.WORKER_FAILED),
    (MemoryError(), "work", Exit.OUT_OF_MEMORY),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "load", Exit.OUT_OF_MEMORY),
    (
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
        "work",
        Exit.OUT_OF_MEMORY,
    ),
    (RuntimeError("CUDA error: an illegal memory access was encountered"), "work", Exit.CUDA_ERROR),
    (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), "load", Exit.CUDA_ERROR),
    (dist.DistBackendError("NCCL error in: ncclUnhandledCudaError: Call to CUDA function failed."), "work", Exit.NCCL_ERROR),
    (dist.DistBackendError("ncclRemoteError: A call failed possibly due to a network error"), "work", Exit.PEER_LOST),
    (
        RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Connection closed by peer [127.0.0.1]:26016"),
        "work",
        Exit.PEER_LOST,
    ),
    (
        RuntimeError("[../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 60000ms for recv"),
        "work",
        Exit.PEER_LOST,
    ),
    (dist.DistNetworkError("The client socket has timed out after 60s while trying to connect"), "start", Exit.NCCL_ERROR),
    (ValueError("Cannot load model: shape mismatch"), "load", Exit.INVALID_MODEL),
    (OSError("Error no file named diffusion_pytorch_model.safetensors found in directory /models"), "load", Exit.INVALID_MODEL),
    (FileNotFoundError(errno.ENOENT, "No such file"), "load", Exit.INVALID_MODEL),
    (OSError(errno.EIO, "Input/output error"), "load", Exit.WORKER_FAILED),
    (SafetensorError("Error while deserializing header: incomplete metadata"), "load", Exit.INVALID_MODEL),
    (ValueError("a bug"), "work", Exit.WORKER_FAILED),
    (KeyError("a bug"), "start", Exit.WORKER_FAILED),
]


@pytest.mark.parametrize(("error", "phase", "expected"), CASES, ids=lambda value: getattr(value, "name", None) or str(value)[:40])
def test_who_is_to_blame(error: BaseException, phase: Phase, expected: Exit) -> None:
    assert classify(error, phase=phase, device="cuda") == expected


def test_without_gpus_a_broken_group_is_a_lost_peer() -> None:
    assert classify(dist.DistBackendError("gloo: unknown"), phase="work", device="cpu") == Exit.PEER_LOST


def test_sentence_is_one_short_line() -> None:
    assert sentence(ValueError("first\nsecond")) == "ValueError: first"
    assert sentence(ValueError()) == "ValueError"
    assert len(sentence(ValueError("x" * 5000))) <= 500
