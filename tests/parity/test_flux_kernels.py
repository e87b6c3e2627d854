"""Kernels for GPUs, in triton's interpreter: what they compute, not how fast."""

import os
import subprocess
import sys
from pathlib import Path


def test_heads_are_packed_as_the_plain_version_packs_them() -> None:
    command = [sys.executable, str(Path(__file__).with_name("flux_kernels.py"))]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
