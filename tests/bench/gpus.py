"""Asks the driver of real GPUs what the supervisor asks: `python tests/bench/gpus.py`. Prints JSON, needs no torch."""

import json
import os
import subprocess
import time

from xdit_runtime.nvml import Nvml, look


def main() -> None:
    """One look at all GPUs, at one by its UUID, and what looking costs."""
    began = time.monotonic()
    driver = Nvml(None)
    opened = time.monotonic() - began
    first = look(driver)
    began = time.monotonic()
    for _ in range(20):
        look(driver)
    each = (time.monotonic() - began) / 20
    uuid = subprocess.run(
        ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    alone = look(Nvml([uuid]))
    held = subprocess.run(
        ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"], capture_output=True, text=True, check=True
    ).stdout.split()
    print(
        json.dumps(
            {
                "gpus": [gpu.dump() for gpu in first.gpus],
                "problem": first.problem,
                "by uuid": alone.gpus[0].dump(),
                "open ms": round(opened * 1e3, 1),
                "look ms": round(each * 1e3, 2),
                "holds a GPU": str(os.getpid()) in held,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
