"""A rank without torch: the real ledger, the real writer, the real files to the supervisor; noise for pictures.

XDIT_TEST says what goes wrong, as `<what>` or `<what>@<rank>`: crash (of its GPU, after an image), broken (its GPU, at
once), once (dies before its first image, but only the first time), hang, load (for ever), slow (0.2 s an image, which the
other ranks of `@` are too), poison (dies of the prompt `poison`), hold (draws its first image for ever), die (a follower,
while rank 0 draws). Several are separated by commas.
"""

import faulthandler
import os
import signal
import sys
import time
from typing import Any

from xdit_api.report import Counts, Exit, LaneProgress
from xdit_runtime import handshake, rankpipe
from xdit_runtime.handshake import RankContext, RankEnd, RankFailure
from xdit_runtime.paths import Layout


def act(what: str, context: RankContext, images: int) -> None:
    if (what == "crash" and images >= 1) or what == "broken":
        handshake.say_failed(context.lane_dir, RankFailure(context.rank, time.time(), Exit.CUDA_ERROR, "a test broke the GPU"))
        os._exit(1)
    if what == "hang" and images >= 1:
        time.sleep(1000)


def lead(context: RankContext, what: str) -> RankEnd:
    import numpy as np

    from xdit_runtime.ledger import open_lane
    from xdit_runtime.sink import Made, Sink

    job = context.job
    ledger = open_lane(job, replica=context.replica, lane=context.lane, lanes=job.degrees.lanes, pod_uid=context.pod_uid)
    sink = Sink(ledger, job, lambda line: print(line, flush=True))
    if what == "load":
        time.sleep(1000)
    images, stopped = 0, False
    while not (stopped := handshake.stop_asked(context.lane_dir)) and (claimed := ledger.claim()):
        (claim,) = claimed
        prompt = claim.prompt
        for k in claim.missing:
            handshake.say_claims(context.lane_dir, [claim.name])
            while what == "hold":
                handshake.beat(context.lane_dir, context.rank)
                time.sleep(0.1)
            if what == "poison" and prompt.id == "poison":
                os.kill(os.getpid(), signal.SIGSEGV)
            pixels: Any = np.random.default_rng(k).integers(0, 256, (prompt.height, prompt.width, 3), dtype=np.uint8)
            handshake.say_claims(context.lane_dir, [])
            sink.put([Made(prompt, k, pixels, 0.01)])
            images += 1
            time.sleep(0.2 if what == "slow" else 0.005)
            handshake.beat(context.lane_dir, context.rank)
            ledger.beat()
            progress = LaneProgress(index=context.lane, phase="Generating", prompt=prompt.id, completed=images)
            handshake.say_progress(context.lane_dir, progress, ledger.counts())
            act(what, context, images)
    sink.close()
    complete, counts = ledger.complete(), ledger.counts()
    ledger.close()
    return RankEnd(context.rank, "drained" if complete else "stopped" if stopped else "idle", counts)


def follow(context: RankContext, what: str) -> RankEnd:
    """What a collective would do: wait for rank 0, break when it is gone."""
    end = Layout.of(context.job).own / f"test-end-{context.replica}-{context.attempt}-{context.lane}"
    while not end.exists():
        time.sleep(0.02)
        if what == "die" and any(path.is_file() for path in Layout.of(context.job).claims.rglob("*")):
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGSEGV)
        if any(Layout.of(context.job).images.glob("*")):
            act(what, context, 1)
    outcome: Any = end.read_text()
    return RankEnd(context.rank, outcome, Counts())


def main() -> None:
    context = RankContext.from_environment()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    what = "slow"
    for item in reversed(os.environ.get("XDIT_TEST", "").split(",")):
        name, _, rank = item.partition("@")
        what = name if not rank or int(rank) == context.rank else what
    rankpipe.join(context.lane_dir, context.rank)
    print(f"hello from rank {context.rank} of {context.world_size} of lane {context.lane}", flush=True)
    handshake.beat(context.lane_dir, context.rank)
    act(what, context, 0)
    if what == "once" and context.lane_dir.name.count("-") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if context.rank == 0:
        end = lead(context, what)
        path = Layout.of(context.job).own / f"test-end-{context.replica}-{context.attempt}-{context.lane}"
        handshake.write_whole(path, end.outcome)
    else:
        end = follow(context, what)
    handshake.say_ended(context.lane_dir, end)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
