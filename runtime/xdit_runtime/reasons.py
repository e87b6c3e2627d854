"""Why a lane ended: from what its ranks said and how they died to one ending. Pure."""

import signal
from dataclasses import dataclass

from xdit_api.report import Counts, Exit, Outcome
from xdit_runtime.ending import Ending, failed
from xdit_runtime.handshake import RankEnd, RankFailure

_ECHOES = (Exit.NCCL_ERROR, Exit.PEER_LOST)
"""What ranks say when another one went away; less telling the later it comes in this list."""


@dataclass(frozen=True, slots=True)
class LaneEnd:
    """What the supervisor saw of a lane."""

    failures: list[RankFailure]
    """Earliest first."""
    ends: list[RankEnd]
    size: int
    """Ranks in this pod."""
    silent: list[int]
    """Ranks that died without a word, before anyone killed them."""
    exit_codes: dict[int, int]
    """Of silent ranks, as far as known; negative for signals."""
    oom: bool
    """The kernel killed a process of this container for want of memory meanwhile."""
    torchrun: int | None
    """Exit code of torchrun."""
    tail: list[str]
    """Its last lines."""


def ending_of(lane: LaneEnd) -> Ending:
    """The one cause: a rank's own word about itself, then a silent death, then words about others."""
    causes = [f for f in lane.failures if f.exit not in _ECHOES]
    if causes:
        return failed(causes[0].exit, causes[0].message, causes[0].rank)
    spoke = {f.rank for f in lane.failures}
    silent = [rank for rank in lane.silent if rank not in spoke]
    if silent:
        # torchrun sends SIGTERM to the others when it sees one die: they are not the cause
        return _died(min(silent, key=lambda rank: (lane.exit_codes.get(rank) == -signal.SIGTERM, rank)), lane)
    for echo in _ECHOES:
        for failure in lane.failures:
            if failure.exit == echo:
                return failed(echo, failure.message, failure.rank)
    if len(lane.ends) == lane.size:
        return ended_well([end.outcome for end in lane.ends], lane.ends[0].counts)
    if lane.oom and lane.torchrun == -signal.SIGKILL:
        return failed(Exit.OUT_OF_MEMORY, f"the launcher of the ranks was killed because {_LIMIT}")
    last = next((line.strip() for line in reversed(lane.tail) if line.strip()), "no output")
    return failed(Exit.WORKER_FAILED, f"torchrun ended with {lane.torchrun} before its ranks had started or ended: {last}")


_LIMIT = "the pod's memory limit was reached: raise worker.resources.limits.memory"


def _died(rank: int, lane: LaneEnd) -> Ending:
    code = lane.exit_codes.get(rank)
    if lane.oom and code in (None, -signal.SIGKILL):
        return failed(Exit.OUT_OF_MEMORY, f"rank {rank} was killed because {_LIMIT}", rank)
    if code is None:
        return failed(Exit.WORKER_FAILED, f"rank {rank} died without a word", rank)
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return failed(Exit.WORKER_FAILED, f"rank {rank} was killed by signal {-code} ({name})", rank)
    return failed(Exit.WORKER_FAILED, f"rank {rank} exited with {code} without saying why", rank)


_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that a process never gets for what it computes."""


def blames_the_work(lane: LaneEnd, ending: Ending) -> bool:
    """Whether a rank died of what it was computing: an exception, a signal of its own making, or want of memory.

    Not when the device, the network, the volume or the plan failed, nor when somebody else killed it.
    """
    if ending.exit is Exit.OUT_OF_MEMORY:
        return True
    if ending.exit is not Exit.WORKER_FAILED or ending.rank is None:
        return False
    if any(failure.rank == ending.rank for failure in lane.failures):
        return True
    code = lane.exit_codes.get(ending.rank)
    return code is not None and code not in {-number for number in _OUTSIDE}


_LOST = ("fallen off the bus", "gpu is lost", "device is lost", "requires reset", "no cuda-capable device")
"""What the driver says through CUDA when a device is gone."""


def gpu_is_gone(ending: Ending, driver: str | None) -> Ending:
    """The ending with the code of a lost GPU, when a rank's words or the driver's own say so."""
    if not ending.exit.hardware:
        return ending
    if driver is not None:
        return failed(Exit.GPU_LOST, f"{driver}; {ending.message}", ending.rank)
    if any(sign in ending.message.lower() for sign in _LOST):
        return failed(Exit.GPU_LOST, ending.message, ending.rank)
    return ending


def ended_well(outcomes: list[Outcome], counts: Counts | None) -> Ending:
    """The outcome of ranks or lanes of which none failed: drained if one saw it, stopped if one was."""
    if "drained" in outcomes:
        return Ending("drained", Exit.OK, "", counts=counts)
    if "stopped" in outcomes:
        return Ending("stopped", Exit.STOPPED, "stopped at an image boundary", counts=counts)
    return Ending("idle", Exit.OK, "nothing left to claim", counts=counts)
