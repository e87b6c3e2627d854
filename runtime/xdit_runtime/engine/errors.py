"""From an exception to an exit code: who is to blame, and would the same input fail again. Pure: knows errors by name and text."""

import errno
from typing import Literal

from xdit_api.report import Exit
from xdit_runtime.engine.base import PlanError

Phase = Literal["start", "load", "work"]

_LOST = (
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "connection refused",
    "remote process exited",
    "ncclremoteerror",
    "socket timeout",
    "timed out waiting",
    "failed to recv",
    "wait timeout",
    "could not be reached",
)
"""What torch, gloo and NCCL say when it is the other side that went away."""
_OURS = {
    "OutputVolumeError": Exit.OUTPUT_VOLUME,
    "IdentityMismatchError": Exit.IDENTITY_MISMATCH,
    "PromptFileError": Exit.INVALID_PROMPTS,
}
_DISTRIBUTED = ("DistBackendError", "DistNetworkError", "DistStoreError", "DistError")


def classify(error: BaseException, *, phase: Phase, device: Literal["cuda", "cpu"]) -> Exit:
    """The exit code that a rank reports for an exception that ended it in `phase`."""
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error).lower()
    communication = bool(names.intersection(_DISTRIBUTED)) or ("gloo" in text and "RuntimeError" in names)
    for name, code in _OURS.items():
        if name in names:
            return code
    if isinstance(error, PlanError):
        return Exit.INVALID_PLAN
    if _host_memory(error, names, text):
        return Exit.OUT_OF_MEMORY
    if "OutOfMemoryError" in names:
        # the picture or the model is too large for this GPU, which does not make the GPU bad
        return Exit.WORKER_FAILED
    if communication and any(sign in text for sign in _LOST):
        return Exit.PEER_LOST
    if communication:
        return Exit.NCCL_ERROR if device == "cuda" else Exit.PEER_LOST
    if "AcceleratorError" in names or ("RuntimeError" in names and ("cuda error" in text or "cudnn" in text or "cublas" in text)):
        return Exit.CUDA_ERROR
    if phase == "load" and _bad_model(error, names):
        return Exit.INVALID_MODEL
    return Exit.WORKER_FAILED


def _host_memory(error: BaseException, names: set[str], text: str) -> bool:
    """Whether this process asked for more memory than there is."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return "RuntimeError" in names and ("can't allocate memory" in text or "std::bad_alloc" in text)


def _bad_model(error: BaseException, names: set[str]) -> bool:
    if isinstance(error, OSError):
        # libraries raise OSError with a sentence for what is missing; the system's own errors have a number
        return error.errno is None or isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError)
    return isinstance(error, ValueError | KeyError | TypeError | AttributeError) or "SafetensorError" in names


def sentence(error: BaseException) -> str:
    """One line for people: the kind and the first line of what it says, at most 500 characters."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500].rstrip(": ")
