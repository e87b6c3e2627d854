"""One rank of a lane: `python -m xdit_runtime.worker`, started by torchrun, which the supervisor started.

It says how it ended in a file of the lane's directory, because torchrun forgets exit codes, and leaves without running
destructors: those of a broken process group can hang.
"""

import ctypes
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from xdit_api.report import Counts, LaneProgress, Outcome
from xdit_runtime import handshake, rankpipe
from xdit_runtime.engine.errors import Phase, classify, sentence
from xdit_runtime.engine.pulse import Every
from xdit_runtime.engine.watch import while_active
from xdit_runtime.handshake import RankContext, RankEnd, RankFailure

if TYPE_CHECKING:
    from xdit_runtime.engine.base import Engine
    from xdit_runtime.engine.groups import Control
    from xdit_runtime.engine.loop import Leader
    from xdit_runtime.ledger import LaneLedger

BEAT_SECONDS = 1.0
"""Shortest time between two beats."""
_PR_SET_PDEATHSIG = 1


def _guard(context: RankContext) -> None:
    """Print to the supervisor, die with the launcher, leave signals to the supervisor, dump stacks on SIGUSR1."""
    rankpipe.join(context.lane_dir, context.rank)
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    # the supervisor asks to stop with a file; a rank that died of a signal would break its peers in mid-picture
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)


@dataclass
class _Life:
    """How far this rank has come: says where an exception came from, and what its start took."""

    began: float
    """Unix seconds: the start of the lane's present life."""
    phase: Phase = "start"
    load_seconds: float | None = None
    first_step_seconds: float | None = None


def _leader(context: RankContext, life: _Life) -> "tuple[Leader, LaneLedger]":
    from xdit_runtime.engine.loop import Leader
    from xdit_runtime.ledger import open_lane
    from xdit_runtime.sink import Sink

    job = context.job
    ledger = open_lane(
        job,
        replica=context.replica,
        lane=context.lane,
        lanes=job.degrees.lanes,
        pod_uid=context.pod_uid,
        stop=lambda: handshake.stop_asked(context.lane_dir),
    )

    sink = Sink(ledger, job, lambda line: print(line, flush=True))  # noqa: T201 - the supervisor makes a log line of it

    def report(progress: LaneProgress, counts: Counts) -> None:
        if progress.step is not None and life.first_step_seconds is None:
            life.first_step_seconds = round(handshake.now() - life.began, 2)
        facts = {
            "load_seconds": life.load_seconds,
            "first_step_seconds": life.first_step_seconds,
            "blocked_seconds": round(sink.blocked_seconds, 3),
        }
        handshake.say_progress(context.lane_dir, progress.model_copy(update=facts), counts)

    def say_claims(claims: Sequence[str]) -> None:
        handshake.say_claims(context.lane_dir, claims)

    leader = Leader(job, context.lane, ledger, sink, report, say_claims)
    leader.say("Loading")
    return leader, ledger


def run(context: RankContext, life: _Life) -> tuple[Outcome, Counts]:
    """One rank from its first group to the end of the lane; how it ended, equal on all ranks."""
    leader: Leader | None = None

    def pulse() -> None:
        handshake.beat(context.lane_dir, context.rank)
        if leader is not None:
            leader.beat()

    alive = Every(BEAT_SECONDS, pulse, time.monotonic)
    with while_active(alive):
        alive()
        leader, ledger = _leader(context, life) if context.rank == 0 else (None, None)
        engine, control = _ready(context, life, ledger, alive)
    from xdit_runtime.engine import loop

    control.gather(alive)
    end = loop.run(engine, control, leader, alive=alive, stop=lambda: handshake.stop_asked(context.lane_dir))
    control.part()
    return end


def _ready(context: RankContext, life: _Life, ledger: "LaneLedger | None", alive: Callable[[], None]) -> "tuple[Engine, Control]":
    """Import, meet the other ranks, learn what was decided for the job, load. `ledger` is given on rank 0 only."""
    from xdit_runtime.engine import groups
    from xdit_runtime.engine.base import World
    from xdit_runtime.engine.choice import decide, engine_for
    from xdit_runtime.ledger import decisions

    job = context.job
    world = World(
        rank=context.rank,
        local_rank=context.local_rank,
        size=context.world_size,
        device=job.device,
        # a little more than the supervisor's patience, so that it is the one to say that nothing moves
        timeout=timedelta(seconds=job.stall_seconds + 60),
    )
    groups.start(world)
    control = groups.Control(world)
    life.phase = "load"
    decided = None
    if ledger is not None:
        shapes = ledger.shapes()
        decided = decisions.decide(ledger.layout, lambda: decide(job, world, shapes))
    engine = engine_for(job, world, control, control.broadcast(decided))
    began = time.monotonic()
    engine.load(lambda _part: alive())
    life.load_seconds = round(time.monotonic() - began, 2)
    life.phase = "work"
    return engine, control


def main() -> NoReturn:
    """Run the rank, say how it ended, leave at once."""
    context = RankContext.from_environment()
    _guard(context)
    life = _Life(began=float(os.environ.get(handshake.ENV_LANE_BEGAN) or handshake.now()))
    code = 0
    try:
        outcome, counts = run(context, life)
        handshake.say_ended(context.lane_dir, RankEnd(context.rank, outcome, counts))
    except BaseException as error:  # noqa: BLE001 - whatever it was, the supervisor must hear of it
        traceback.print_exc()
        exit_code = classify(error, phase=life.phase, device=context.job.device)
        failure = RankFailure(context.rank, handshake.now(), exit_code, f"rank {context.rank}: {sentence(error)}")
        handshake.say_failed(context.lane_dir, failure)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
