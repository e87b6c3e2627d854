"""How many GPUs this pod has, as the driver says, without torch and without holding any of their memory."""

import os
import subprocess
import sys

_ASK = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
count = ctypes.c_int()
for code in (cuda.cuInit(0), cuda.cuDeviceGetCount(ctypes.byref(count))):
    if code:
        raise SystemExit(f"the CUDA driver says error {code}")
print(count.value)
"""
_SECONDS = 60


class NoGpuError(Exception):
    """The driver cannot be asked; says why."""


def count() -> int:
    """GPUs that CUDA shows (CUDA_VISIBLE_DEVICES counts). In a process of its own: an initialised driver stays in memory."""
    try:
        done = subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, "-I", "-S", "-c", _ASK], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NoGpuError(f"the CUDA driver did not answer within {_SECONDS} s") from error
    if done.returncode != 0:
        raise NoGpuError((done.stderr.strip().splitlines() or ["no CUDA driver"])[-1])
    return int(done.stdout)


def slice_of(lane: int, size: int, visible: str | None = os.environ.get("CUDA_VISIBLE_DEVICES")) -> str:
    """CUDA_VISIBLE_DEVICES of a lane: its slice of the pod's devices."""
    devices = visible.split(",") if visible else [str(i) for i in range((lane + 1) * size)]
    return ",".join(devices[lane * size : (lane + 1) * size])
