"""How a download can end, and which system error means what."""

import errno
import os
from enum import IntEnum
from pathlib import Path


class Exit(IntEnum):
    """Exit codes of `xdit-fetch`, in the ranges of `xdit_api.report.Exit`: 64-79 are permanent, the rest is retried."""

    OK = 0
    """The model is in the cache."""
    FETCH_FAILED = 1
    """The hub answered with something else than expected, or sent wrong bytes twice."""
    STOPPED = 21
    """Stopped by SIGTERM; what was downloaded stays and the next run goes on from there."""
    OUTPUT_VOLUME = 24
    """The cache volume is full or fails."""
    HUB_UNREACHABLE = 26
    """No connection to the hub, or it answers with 429 or 5xx for longer than --patience."""
    INVALID_JOB = 64
    """An argument or the token file is wrong."""
    INVALID_MODEL = 66
    """The repository has no complete set of .safetensors weights, or it needs code of its own."""
    OUTPUT_NOT_WRITABLE = 69
    """The cache directory cannot be written by this user."""
    MODEL_ACCESS = 70
    """The hub refuses this token, or the absence of one."""
    MODEL_NOT_FOUND = 71
    """The hub has no such repository or commit."""

    @property
    def reason(self) -> str:
        """CamelCase word of conditions and events, for example ModelNotFound."""
        return "".join(part.capitalize() for part in self.name.split("_"))


class FetchError(Exception):
    """The model cannot be fetched; one sentence for the user and the way to end."""

    def __init__(self, exit: Exit, message: str) -> None:
        super().__init__(message)
        self.exit = exit


class StoppedError(Exception):
    """Told to stop by a signal."""


def of_os_error(error: OSError, root: Path) -> FetchError:
    """What a failed call on the cache volume means."""
    where = f"{error.strerror or error} ({error.filename or root})"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return FetchError(
            Exit.OUTPUT_NOT_WRITABLE,
            f"cannot write the model cache: {where}; this process is uid {os.getuid()}, gid {os.getgid()}. Mount the cache "
            "writable and give it to this user (fsGroup)",
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FetchError(Exit.OUTPUT_VOLUME, f"the model cache is full: {where}. Free space or take a larger volume")
    return FetchError(Exit.OUTPUT_VOLUME, f"the model cache fails: {where}")
