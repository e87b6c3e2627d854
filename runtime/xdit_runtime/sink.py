"""Writing images: beside the GPU's work, each whole or not at all, each at most once."""

import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import numpy.typing as npt
from PIL import Image

from xdit_api.job import Job
from xdit_api.prompts import Prompt
from xdit_runtime import imagefile
from xdit_runtime.ledger.lane import LaneLedger
from xdit_runtime.record import record_of
from xdit_runtime.volume import OutputVolumeError, publish, replace, write_fsynced

__all__ = ["OutputVolumeError", "Sink"]

_QUEUE = 2
_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Made:
    prompt: Prompt
    k: int
    image: npt.NDArray[np.uint8]
    seconds: float


class Sink:
    """The writer of one lane: one thread, a queue of at most two images."""

    def __init__(self, lane: LaneLedger, job: Job) -> None:
        self._lane = lane
        self._job = job
        self._queue: queue.Queue[_Made | None] = queue.Queue(_QUEUE)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sink", daemon=True)
        self._thread.start()

    def put(self, prompt: Prompt, k: int, image: npt.NDArray[np.uint8], seconds: float) -> None:
        """Queue image k (from 0) of a claimed prompt. image: height x width x 3, RGB; not to be changed afterwards.

        seconds: what making it took. Waits while two images are queued. Raises the error of an earlier image.
        """
        self._put(_Made(prompt, k, image, seconds))

    def drain(self) -> None:
        """Wait until everything queued is on the volume. Raises OutputVolumeError."""
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks and self._thread.is_alive():
                self._queue.all_tasks_done.wait(_POLL_SECONDS)
        self._raise()

    def close(self) -> None:
        """Drain and end the thread. Raises OutputVolumeError."""
        self.drain()
        self._put(None)
        self._thread.join()

    def _put(self, item: _Made | None) -> None:
        # the supervisor's stall timeout is the deadline of a volume that hangs
        while True:
            self._raise()
            with suppress(queue.Full):
                self._queue.put(item, timeout=_POLL_SECONDS)
                return

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            try:
                if item is None:
                    return
                if self._error is None:
                    self._write(item)
                else:
                    self._give_back(item.prompt)
            except Exception as error:  # noqa: BLE001 - whatever it was, the lane's loop raises it
                self._error = error
                if item is not None:
                    self._give_back(item.prompt)
            finally:
                self._queue.task_done()

    def _give_back(self, prompt: Prompt) -> None:
        """Another lane's volume may work. When not even that can be written, the claim goes stale by itself."""
        if self._lane.held(prompt.id):
            try:
                self._lane.release(prompt.id)
            except OutputVolumeError as error:
                assert self._error is not None
                self._error.add_note(f"the claim of {prompt.id} could not be released: {error}")

    def _write(self, made: _Made) -> None:
        layout = self._lane.layout
        record = record_of(self._job, made.prompt, made.k)
        name = record["image"]
        data = imagefile.encode(made.image, record, self._job.output.format)
        temporary = layout.scratch / f"{self._lane.owner}.{name}"
        write_fsynced(temporary, data)
        self._lane.record(
            {
                **record,
                "file": layout.image(name).name,
                "sha256": sha256(data).hexdigest(),
                "bytes": len(data),
                "seconds": round(made.seconds, 3),
                "lane": str(self._lane.owner),
                "time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
            }
        )
        ours = publish(temporary, layout.image(name))
        self._lane.wrote(made.prompt, made.k)
        if ours:
            small = imagefile.thumbnail(Image.fromarray(made.image, "RGB"))
            replace(layout.thumbnail(name), small, layout.scratch / f"{self._lane.owner}.thumb.{name}")
