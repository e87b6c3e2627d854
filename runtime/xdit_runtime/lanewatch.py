"""The lanes of this pod from their start to the end of the last one: who died, who goes on, and what the pod says of it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from xdit_api.job import Job
from xdit_api.report import Exit
from xdit_runtime import cgroup, handshake, lanes, processes, restarts
from xdit_runtime.ending import Ending, failed
from xdit_runtime.keeper import Keeper
from xdit_runtime.ledger import crashes
from xdit_runtime.logs import Log
from xdit_runtime.nvml import Monitor
from xdit_runtime.paths import Layout
from xdit_runtime.peers import Peers
from xdit_runtime.reasons import LaneEnd, blames_the_work, ended_well, ending_of, gpu_is_gone
from xdit_runtime.settings import Settings
from xdit_runtime.state import State, line_of
from xdit_runtime.volume import OutputVolumeError

_TICK = 0.2
_SAY_SECONDS = 10.0
_COUNT_SECONDS = 2.0
_DUMP_SECONDS = 2.0
"""For the stacks of a stalled lane to reach the log."""
_ECHO_SECONDS = 5.0
"""For a pod that failed to say why, after our ranks lost the connection to its ranks."""
_DRIVER_SECONDS = 5.0
"""For the driver to say whether a GPU is gone, after a rank's CUDA call failed."""


@dataclass(frozen=True, slots=True)
class Around:
    """What the lanes of this pod live among."""

    settings: Settings
    job: Job
    layout: Layout
    state: State
    stop: threading.Event
    """SIGTERM came."""
    log: Log
    peers: Peers | None
    """None when the replica is one pod."""
    gpus: Monitor | None
    """None on the CPU."""
    alive: Callable[[], None]
    """Called at every look: the supervisor itself does not stand still."""


class LaneWatch:
    """Owns the lanes of one attempt."""

    def __init__(self, around: Around) -> None:
        self._a = around
        self._oom = cgroup.oom_kills()
        self._last_line = ""
        self._stop_by: float | None = None
        self.crashed = False
        """Whether the attempt ended because a rank of this pod died of what it was computing."""
        settings = around.settings
        self._keepers = [self._keeper(index, settings) for index in range(around.job.degrees.lanes)]

    def _keeper(self, index: int, settings: Settings) -> Keeper:
        def start(life: int) -> lanes.Lane:
            return lanes.start(settings, self._a.job, index, life, self._a.log)

        return Keeper(index, start, settings.lane_restarts, settings.lane_backoff)

    def run(self) -> Ending:
        """Start every lane and watch until each ended, or one did so badly that the others must."""
        for keeper in self._keepers:
            keeper.start()
        next_line = next_count = time.monotonic()
        while True:
            now = time.monotonic()
            self._a.alive()
            ending = self._look(now)
            self._a.state.lanes = [state for keeper in self._keepers if (state := keeper.state()) is not None]
            if ending is not None:
                self.kill()
                self._say_progress()
                return ending
            if now >= next_count:
                next_count = now + _COUNT_SECONDS
                self._a.state.pace = self._a.state.pace.saw(now, self._a.state.progress().counts.completed)
            if now >= next_line:
                next_line = now + _SAY_SECONDS
                self._say_progress()
            time.sleep(_TICK)

    def kill(self) -> None:
        """End all processes of all lanes."""
        for keeper in self._keepers:
            keeper.kill()

    def _look(self, now: float) -> Ending | None:
        """One look at everything. An ending is that of the attempt."""
        running = [(keeper, keeper.lane) for keeper in self._keepers if keeper.lane is not None]
        for _, lane in running:
            lane.look()
        processes.reap({lane.process.pid for _, lane in running})
        # a peer that fails may be the echo of our own failure: our ranks' words are read first
        for keeper, lane in running:
            if lane.broken:
                ending = self._broken(keeper, lane, now)
                if ending is not None:
                    return ending
            elif lane.finished:
                lane.kill()
                keeper.end(ending_of(self._end_of(lane)))
        if all(keeper.ending is not None for keeper in self._keepers):
            return self._finished()
        ending = self._outside() or self._stopping(now) or self._stalled()
        if ending is None:
            self._start_again(now)
        return ending

    def _start_again(self, now: float) -> None:
        """Begin the lives that are due, unless another lane saw the whole job complete meanwhile."""
        complete = next((k.ending for k in self._keepers if k.ending is not None and k.ending.outcome == "drained"), None)
        for keeper in self._keepers:
            if complete is not None and keeper.waiting:
                keeper.end(complete)
            else:
                keeper.start_if_due(now)

    def _outside(self) -> Ending | None:
        """What ends the attempt whatever the lanes do."""
        if self._a.gpus is not None and self._a.gpus.problem is not None:
            return failed(Exit.GPU_LOST, self._a.gpus.problem)
        if self._a.peers is not None and self._a.peers.lost is not None:
            if self._a.peers.crashed:
                for keeper in self._keepers:
                    if keeper.lane is not None:
                        self._charge(handshake.claims(keeper.lane.dir), self._a.peers.lost)
            return self._unless_stopping(failed(Exit.PEER_LOST, self._a.peers.lost))
        return None

    def _stopping(self, now: float) -> Ending | None:
        if not self._a.stop.is_set():
            return None
        grace = self._a.settings.grace if self._a.settings.grace is not None else self._a.job.grace_seconds
        if self._stop_by is None:
            running = [keeper.lane for keeper in self._keepers if keeper.lane is not None]
            if all(self._loading(lane) for lane in running):
                return Ending("stopped", Exit.STOPPED, "stopped while no image was in work")
            self._stop_by = now + grace
            self._a.log.say("SIGTERM: stopping at the next image boundary")
            for keeper in self._keepers:
                if keeper.lane is not None and not self._loading(keeper.lane):
                    handshake.ask_to_stop(keeper.lane.dir)
                elif keeper.ending is None:
                    keeper.kill()
                    keeper.end(Ending("stopped", Exit.STOPPED, "stopped while a lane was starting"))
        if now >= self._stop_by:
            return Ending(
                "stopped", Exit.STOPPED, f"no image boundary within {grace:.0f} s of SIGTERM: the image in work is lost"
            )
        return None

    def _say_progress(self) -> None:
        line = line_of(self._a.state.progress())
        if line != self._last_line:
            self._last_line = line
            self._a.log.say(line)

    def _finished(self) -> Ending:
        endings = [keeper.ending for keeper in self._keepers if keeper.ending is not None]
        bad = [ending for ending in endings if ending.outcome == "failed"]
        well = [ending for ending in endings if ending.outcome != "failed"]
        counts = max((e.counts for e in endings if e.counts), key=lambda c: c.completed, default=None)
        if bad and not any(ending.outcome == "drained" for ending in well):
            return bad[0]
        # with every image there it does not matter who gave up
        return ended_well([ending.outcome for ending in well], counts)

    def _broken(self, keeper: Keeper, lane: lanes.Lane, now: float) -> Ending | None:
        """A lane died. The attempt's ending, or None when only the lane's life ends."""
        claims = handshake.claims(lane.dir)
        lane.look()  # who was dead before we kill the rest: one rank's last words may have come before we saw another die
        gone = lane.kill()
        seen = self._end_of(lane)
        self._oom = cgroup.oom_kills()
        ending = ending_of(seen)
        crashed = blames_the_work(seen, ending)
        if self._a.gpus is not None and ending.exit.hardware:
            ending = gpu_is_gone(ending, self._a.gpus.ask(_DRIVER_SECONDS))
        if ending.exit is Exit.PEER_LOST and self._a.peers is not None:
            ending = self._heard(self._a.peers) or ending
            crashed = self._a.peers.crashed
        charged = claims if crashed else []
        self._charge(charged, ending.message)
        ending = self._unless_stopping(ending)
        if self._a.job.pods > 1 or not gone or not (ending.outcome == "stopped" or restarts.may_help(ending.exit)):
            self.crashed = crashed and ending.exit is not Exit.PEER_LOST
            return ending
        if self._stop_by is not None or self._a.stop.is_set():
            keeper.end(ending)
            return None
        self._again(keeper, ending, charged, now)
        return None

    def _again(self, keeper: Keeper, ending: Ending, charged: list[str], now: float) -> None:
        wait = keeper.failed(ending, charged, now)
        what = "the lane gives up" if wait is None else f"the lane starts again in {wait:g} s"
        self._a.log.say(f"{ending.exit.reason}: {ending.message}; {what}", level="error" if wait is None else "warning")

    def _charge(self, claims: list[str], reason: str) -> None:
        """Tell the ledger what the ranks died of."""
        if not claims:
            return
        try:
            crashes.mark(self._a.layout, claims, reason)
        except (OutputVolumeError, ValueError) as error:
            self._a.log.warn(f"the crash of {', '.join(claims)} could not be noted: {error}")
        else:
            self._a.log.warn(f"charged with the crash: {', '.join(claims)}")

    def _heard(self, peers: Peers) -> Ending | None:
        """Our rank only felt that another pod broke; that pod knows why."""
        deadline = time.monotonic() + _ECHO_SECONDS
        while peers.lost is None and time.monotonic() < deadline:
            time.sleep(_TICK)
        return None if peers.lost is None else failed(Exit.PEER_LOST, peers.lost)

    def _unless_stopping(self, ending: Ending) -> Ending:
        """Pods that are told to stop go one after the other: that is no loss."""
        if self._a.stop.is_set() and ending.exit is Exit.PEER_LOST:
            return Ending("stopped", Exit.STOPPED, "stopped while another pod of the replica went away")
        return ending

    def _loading(self, lane: lanes.Lane) -> bool:
        """Whether no image is in work in a lane, as far as this pod can know: only pod 0 hears of it."""
        if self._a.settings.node_rank > 0:
            return False
        said = handshake.progress(lane.dir)
        return said is None or said[0].phase in ("Waiting", "Loading")

    def _stalled(self) -> Ending | None:
        limit = self._a.job.stall_seconds
        lane = next((k.lane for k in self._keepers if k.lane is not None and k.lane.still_for() > limit), None)
        if lane is None:
            return None
        self._a.log.say(f"no progress for {limit} s; stacks of all ranks follow", level="error")
        stopped = lane.stopped()
        for keeper in self._keepers:
            if keeper.lane is not None:
                keeper.lane.dump_stacks()
        time.sleep(_DUMP_SECONDS)
        said = handshake.progress(lane.dir)
        where = "" if said is None else f"lane {lane.index} was {said[0].phase.lower()} {said[0].prompt or ''}".rstrip()
        who = f"rank {', '.join(map(str, stopped))} was stopped by a signal" if stopped else ""
        inside = "; ".join(part for part in (where, who) if part)
        text = f"no progress for {limit} s{f' ({inside})' if inside else ''}; the log has all stacks"
        return failed(Exit.STALLED, text, stopped[0] if stopped else None)

    def _end_of(self, lane: lanes.Lane) -> LaneEnd:
        codes = {rank: code for rank in lane.silent if (code := lane.exit_code(rank)) is not None}
        return LaneEnd(
            failures=handshake.failures(lane.dir),
            ends=handshake.ends(lane.dir),
            size=lane.size,
            silent=lane.silent,
            exit_codes=codes,
            oom=cgroup.oom_kills() > self._oom,
            torchrun=lane.process.poll(),
            tail=lane.tail,
        )
