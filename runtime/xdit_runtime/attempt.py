"""One pod's part of one attempt, from preflight to the end of its lanes."""

import os
import threading
import time
from collections.abc import Callable

from xdit_api.job import Job
from xdit_api.report import Exit
from xdit_runtime import preflight
from xdit_runtime.ending import Ending, RefusedError, StopRequestedError
from xdit_runtime.lanewatch import Around, LaneWatch
from xdit_runtime.logs import Log
from xdit_runtime.nvml import Monitor, Nvml
from xdit_runtime.paths import Layout
from xdit_runtime.peers import Peers, wait_together
from xdit_runtime.publish import Publisher, keep_published
from xdit_runtime.settings import Settings
from xdit_runtime.state import State
from xdit_runtime.volume import OutputVolumeError


class Attempt:
    """Owns the lanes and the connections to other pods of one attempt."""

    def __init__(
        self, settings: Settings, job: Job, state: State, stop: threading.Event, log: Log, alive: Callable[[], None]
    ) -> None:
        """stop: SIGTERM came. alive: to be called while nothing else shows that this process does not hang."""
        self._settings = settings
        self._job = job
        self._state = state
        self._stop = stop
        self._log = log
        self._alive = alive
        self._peers: Peers | None = None
        self._watch: LaneWatch | None = None
        self._over = threading.Event()
        self._began = time.monotonic()
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
        self._state.phase = "Running"
        self._state.start_seconds = round(time.monotonic() - self._began, 2)
        self._watch = LaneWatch(self._around(ready.layout))
        ending = self._watch.run()
        self._over.set()
        self._alive()
        if ending.outcome == "drained":
            self._publish(publisher)
        elif ending.outcome == "stopped":
            self._publish_if_possible(publisher)
        return ending

    def part(self, ending: Ending) -> None:
        """Tell the other pods how it ended; safe at any point."""
        self._over.set()
        if self._peers is not None:
            kind = "failed" if ending.outcome == "failed" else "done"
            crashed = self._watch is not None and self._watch.crashed
            self._peers.close(kind, f"{ending.exit.reason}: {ending.message[:500]}", crashed=crashed)
            self._peers = None

    def _around(self, layout: Layout) -> Around:
        gpus = None
        if self._job.device == "cuda":
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            gpus = Monitor(lambda: Nvml(visible.split(",") if visible else None), self._log.warn)
            self._state.gpus = lambda: gpus.gpus
        return Around(self._settings, self._job, layout, self._state, self._stop, self._log, self._peers, gpus, self._alive)

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
            self._log.warn(f"the gallery was not brought up to date: {error}")

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise StopRequestedError

    def _gather(self) -> None:
        """Wait for the other pods of the replica. Raises RefusedError, StopRequestedError."""
        s = self._settings
        group = {"job": self._job.uid, "replica": s.replica, "attempt": s.attempt, "pods": self._job.pods}
        self._peers = Peers(group, s.node_rank, self._job.pods, s.master_addr, s.peer_port, s.pod, self._log.say)
        self._peers.start()
        if wait_together(self._peers, s.peer_deadline, self._waiting):
            return
        self._check_stop()
        if self._peers.lost is not None:
            raise RefusedError(Exit.PEER_LOST, self._peers.lost)
        raise RefusedError(
            Exit.PEERS_UNREACHABLE, f"not all pods of the replica appeared within {s.peer_deadline:.0f} s: {self._peers.problem}"
        )

    def _waiting(self) -> bool:
        """Whether to give up waiting for peers."""
        self._alive()
        return self._stop.is_set()
