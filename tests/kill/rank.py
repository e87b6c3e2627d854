"""A rank without torch for lanes of one rank: the worker's own ledger, loop, leader and writer; noise for pictures.

XDIT_TEST_SECONDS: what a picture takes. Every picture that is begun is written down in `drawn/` beside the output.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xdit_api.base import Json
from xdit_runtime import handshake, worker
from xdit_runtime.engine import loop
from xdit_runtime.engine.base import Image, OnPart, OnStep, Request
from xdit_runtime.engine.pulse import Every
from xdit_runtime.handshake import RankContext, RankEnd

BATCH = 2


def drawn_dir(output: str) -> Path:
    return Path(output).parent / "drawn"


class Alone:
    """The agreement of one rank."""

    def any(self, flag: bool) -> bool:
        return flag

    def broadcast(self, message: Json | None) -> Json:
        assert message is not None
        return message


class Noise:
    """Draws the noise of each request's seed, and says so before it begins."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._drawn = path.open("a", buffering=1)
        self._seconds = seconds

    def load(self, on_part: OnPart) -> None: ...

    def check(self, request: Request) -> None: ...

    def batch(self, request: Request) -> int:
        return BATCH

    def generate(self, requests: Sequence[Request], on_step: OnStep) -> list[Image] | None:
        for request in requests:
            self._drawn.write(f"{request.prompt}\n")
        for step in range(request.steps):
            time.sleep(self._seconds * len(requests) / request.steps)
            on_step(step + 1, request.steps)
        return [np.random.default_rng(r.seed).integers(0, 256, (r.height, r.width, 3), dtype=np.uint8) for r in requests]

    def close(self) -> None: ...


def main() -> None:
    context = RankContext.from_environment()
    worker._guard(context)
    life = worker._Life(handshake.now())
    leader, ledger = worker._leader(context, life)
    owner = str(ledger.owner)
    handshake.write_whole(context.lane_dir / "owner", owner)

    def beat() -> None:
        handshake.beat(context.lane_dir, 0)
        leader.beat()

    engine = Noise(drawn_dir(context.job.output.path) / owner, float(os.environ["XDIT_TEST_SECONDS"]))
    outcome, counts = loop.run(
        engine, Alone(), leader, alive=Every(0.5, beat, time.monotonic), stop=lambda: handshake.stop_asked(context.lane_dir)
    )
    handshake.say_ended(context.lane_dir, RankEnd(0, outcome, counts))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
