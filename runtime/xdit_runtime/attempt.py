"""One pod's part of one attempt, from preflight to the end of its lanes."""

import threading
import time

from xdit_api.job import Job
from xdit_api.report import Exit
from xdit_runtime import handshake, lanes, preflight, processes
from xdit_runtime.ending import Ending, RefusedError, StopRequestedError, failed
from xdit_runtime.logs import Log
from xdit_runtime.paths import Layout
from xdit_runtime.peers import Peers, wait_together
from xdit_runtime.publish import Publisher, keep_published
from xdit_runtime.reasons import LaneEnd, ended_well, ending_of
from xdit_runtime.settings import Settings
from xdit_runtime.state import State, line_of
from xdit_runtime.volume import OutputVolumeError

_TICK = 0.2
_SAY_SECONDS = 10.0
_DUMP_SECONDS = 2.0
"""For the stacks of a stalled lane to reach the log."""
_ECHO_SECONDS = 5.0
"""For a pod that failed to say why, after our ranks lost the connection to its ranks."""


class Attempt:
    """Owns the lanes and the connections to other pods of one attempt."""

    def __init__(self, settings: Settings, job: Job, state: State, stop: threading.Event, log: Log) -> None:
        self._settings = settings
        self._job = job
        self._state = state
        self._stop = stop
        self._log = log
        self._peers: Peers | None = None
        self._lanes: list[lanes.Lane] = []
        self._over = threading.Event()
        self._oom = 0
        self._last_line = ""
        self.log_path = ""
        """The log's file relative to the output claim, once there is one."""

    def run(self) -> Ending:
        """The whole attempt. Raises RefusedError, StopRequestedError, OutputVolumeError."""
        ready = preflight.run(self._job, self._log.say, self._attach_log)
        self._state.counts = ready.counts
        publisher = Publisher(self._job, ready.layout, ready.prompts, self._settings.replica, self._settings.pod)
        if ready.drained:
            self._publish(publisher)
            return Ending("drained", Exit.OK, "every image was there already", counts=ready.counts)
        self._log.say(f"preflight passed: {ready.counts.total - ready.counts.completed} of {ready.counts.total} images to make, "
                      f"{self._job.degrees.describe()}")  # fmt: skip
        self._check_stop()
        if self._job.pods > 1:
            self._gather()
        if self._settings.node_rank == 0:
            arguments = (publisher, self._over, self._log.say)
            threading.Thread(target=keep_published, args=arguments, name="publish", daemon=True).start()
        self._oom = processes.oom_kills()
        self._state.phase = "Running"
        for index in range(self._job.degrees.lanes):
            self._lanes.append(lanes.start(self._settings, self._job, index, self._log))
        self._state.lane_dirs = [lane.dir for lane in self._lanes]
        ending = self._watch()
        self._over.set()
        if ending.outcome == "drained":
            self._publish(publisher)
        elif ending.outcome == "stopped":
            self._publish_if_possible(publisher)
        return ending

    def part(self, ending: Ending) -> None:
        """Tell the other pods how it ended; safe at any point."""
        self._over.set()
        if self._peers is not None:
            self._peers.close("failed" if ending.outcome == "failed" else "done", f"{ending.exit.reason}: {ending.message[:500]}")
            self._peers = None

    def _attach_log(self, layout: Layout) -> None:
        name = f"{self._settings.replica}-{self._settings.attempt}-{self._settings.pod}.log"
        path = layout.logs / name
        self._log.attach(path)
        below = path.relative_to(layout.root).as_posix()
        self.log_path = f"{self._job.output.volume_path}/{below}" if self._job.output.volume_path else below

    def _publish(self, publisher: Publisher) -> None:
        """The final manifest and gallery, by pod 0 of the replica that found the job complete."""
        if self._settings.node_rank == 0:
            publisher.publish()

    def _publish_if_possible(self, publisher: Publisher) -> None:
        try:
            if publisher.elected():
                self._publish(publisher)
        except OutputVolumeError as error:
            self._log.say(f"the gallery was not brought up to date: {error}")

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise StopRequestedError

    def _gather(self) -> None:
        """Wait for the other pods of the replica. Raises RefusedError, StopRequestedError."""
        s = self._settings
        group = {"job": self._job.uid, "replica": s.replica, "attempt": s.attempt, "pods": self._job.pods}
        self._peers = Peers(group, s.node_rank, self._job.pods, s.master_addr, s.peer_port, s.pod, self._log.say)
        self._peers.start()
        if wait_together(self._peers, s.peer_deadline, self._stop.is_set):
            return
        self._check_stop()
        if self._peers.lost is not None:
            raise RefusedError(Exit.PEER_LOST, self._peers.lost)
        raise RefusedError(
            Exit.PEERS_UNREACHABLE, f"not all pods of the replica appeared within {s.peer_deadline:.0f} s: {self._peers.problem}"
        )

    def _watch(self) -> Ending:
        """Until every lane ended, or one did badly; then all others are killed at once."""
        stop_by: float | None = None
        next_line = time.monotonic() + 1
        while True:
            for lane in self._lanes:
                lane.look()
            processes.reap({lane.process.pid for lane in self._lanes})
            broken = next((lane for lane in self._lanes if lane.broken), None)
            # a peer that fails may be the echo of our own failure: our ranks' words are read first
            if broken is not None:
                return self._broken(broken)
            if all(lane.finished for lane in self._lanes):
                return self._finished()
            if self._peers is not None and self._peers.lost is not None:
                return self._killed(self._unless_stopping(failed(Exit.PEER_LOST, self._peers.lost)))
            if self._stop.is_set() and stop_by is None:
                if self._still_loading():
                    return self._killed(Ending("stopped", Exit.STOPPED, "stopped before the first image"))
                stop_by = time.monotonic() + self._settings.grace
                self._log.say("SIGTERM: stopping at the next image boundary")
                for lane in self._lanes:
                    handshake.ask_to_stop(lane.dir)
            if stop_by is not None and time.monotonic() >= stop_by:
                text = f"no image boundary within {self._settings.grace:.0f} s of SIGTERM: the image in work is lost"
                return self._killed(Ending("stopped", Exit.STOPPED, text))
            stalled = next((lane for lane in self._lanes if lane.still_for() > self._job.stall_seconds), None)
            if stalled is not None:
                return self._stalled(stalled)
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + _SAY_SECONDS
                self._say_progress()
            time.sleep(_TICK)

    def _say_progress(self) -> None:
        line = line_of(self._state.progress())
        if line != self._last_line:
            self._last_line = line
            self._log.say(line)

    def _kill(self) -> None:
        for lane in self._lanes:
            lane.kill()

    def _killed(self, ending: Ending) -> Ending:
        self._kill()
        return ending

    def _finished(self) -> Ending:
        self._say_progress()
        endings = [ending_of(self._end_of(lane)) for lane in self._lanes]
        self._kill()
        bad = next((e for e in endings if e.outcome == "failed"), None)
        return bad or ended_well([e.outcome for e in endings], max((e.counts for e in endings if e.counts),
                                                                  key=lambda c: c.completed, default=None))  # fmt: skip

    def _broken(self, lane: lanes.Lane) -> Ending:
        """A lane over several pods ends the attempt; so does, for now, one inside this pod (a restart would go here)."""
        lane.look()  # who was dead before we kill the rest: one rank's last words may have come before we saw another die
        self._kill()
        ending = ending_of(self._end_of(lane))
        if ending.exit is Exit.PEER_LOST and self._peers is not None:
            # our rank only felt it: the other pod knows why
            deadline = time.monotonic() + _ECHO_SECONDS
            while self._peers.lost is None and time.monotonic() < deadline:
                time.sleep(_TICK)
            ending = ending if self._peers.lost is None else failed(Exit.PEER_LOST, self._peers.lost)
        return self._unless_stopping(ending)

    def _unless_stopping(self, ending: Ending) -> Ending:
        """Pods that are told to stop go one after the other: that is no loss."""
        if self._stop.is_set() and ending.exit is Exit.PEER_LOST:
            return Ending("stopped", Exit.STOPPED, "stopped while another pod of the replica went away")
        return ending

    def _still_loading(self) -> bool:
        """Whether no image is in work, as far as this pod can know: only pod 0 hears of it."""
        if self._settings.node_rank > 0:
            return False
        said = [handshake.progress(lane.dir) for lane in self._lanes]
        return all(word is None or word[0].phase in ("Waiting", "Loading") for word in said)

    def _stalled(self, lane: lanes.Lane) -> Ending:
        self._log.say(f"no progress for {self._job.stall_seconds} s; stacks of all ranks follow")
        lane.dump_stacks()
        time.sleep(_DUMP_SECONDS)
        said = handshake.progress(lane.dir)
        where = (
            "" if said is None else f" (lane {lane.index} was {said[0].phase.lower()} {said[0].prompt or ''})".replace(" )", ")")
        )
        return self._killed(failed(Exit.STALLED, f"no progress for {self._job.stall_seconds} s{where}; the log has all stacks"))

    def _end_of(self, lane: lanes.Lane) -> LaneEnd:
        codes = {rank: code for rank in lane.silent if (code := lane.exit_code(rank)) is not None}
        return LaneEnd(
            failures=handshake.failures(lane.dir),
            ends=handshake.ends(lane.dir),
            size=lane.size,
            silent=lane.silent,
            exit_codes=codes,
            oom=processes.oom_kills() > self._oom,
            torchrun=lane.process.poll(),
            tail=lane.tail,
        )
