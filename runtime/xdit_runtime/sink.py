"""Writing images: beside the GPU's work, each whole or not at all, each at most once."""

import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import numpy.typing as npt
from PIL import Image

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_api.prompts import Prompt
from xdit_runtime import imagefile, processes
from xdit_runtime.ledger.lane import LaneLedger
from xdit_runtime.record import record_of
from xdit_runtime.volume import OutputVolumeError, publish_all, replace, write_fsynced

__all__ = ["Made", "OutputVolumeError", "Sink"]

_QUEUE = 2
"""Batches that may wait."""
_ENCODERS = 4
"""Threads that encode a batch; zlib runs outside Python's lock."""
_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Made:
    """An image of a claimed prompt."""

    prompt: Prompt
    k: int
    """From 0."""
    image: npt.NDArray[np.uint8]
    """Height x width x 3, RGB; not to be changed afterwards."""
    seconds: float
    """What making it took: its share of its batch."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    made: Made
    record: Json
    data: bytes
    thumbnail: bytes
    seconds: float


class Sink:
    """The writer of one lane: one thread that writes, some that encode, a queue of at most two batches."""

    def __init__(self, lane: LaneLedger, job: Job, log: Callable[[str], None]) -> None:
        """log: takes one line of JSON for every image on the volume."""
        self._lane = lane
        self._job = job
        self._log = log
        self._queue: queue.Queue[Sequence[Made] | None] = queue.Queue(_QUEUE)
        self._encoders = ThreadPoolExecutor(min(_ENCODERS, processes.cpus()), thread_name_prefix="encode")
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sink", daemon=True)
        self._thread.start()
        self.blocked_seconds = 0.0
        """Time that `put` had to wait: the writer is slower than the GPUs."""

    def put(self, batch: Sequence[Made]) -> None:
        """Queue images. Waits while two batches are queued. Raises the error of an earlier image."""
        self._put(batch)

    def drain(self) -> None:
        """Wait until everything queued is on the volume. Raises OutputVolumeError."""
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks and self._thread.is_alive():
                self._queue.all_tasks_done.wait(_POLL_SECONDS)
        self._raise()

    def close(self) -> None:
        """Drain and end the threads. Raises OutputVolumeError."""
        self.drain()
        self._put(None)
        self._thread.join()
        self._encoders.shutdown()

    def _put(self, batch: Sequence[Made] | None) -> None:
        # the supervisor's stall timeout is the deadline of a volume that hangs
        began = time.monotonic()
        while True:
            self._raise()
            with suppress(queue.Full):
                self._queue.put(batch, timeout=_POLL_SECONDS)
                self.blocked_seconds += time.monotonic() - began
                return

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            batch = self._queue.get()
            try:
                if batch is None:
                    return
                if self._error is None:
                    self._write(batch)
                else:
                    self._give_back(batch)
            except Exception as error:  # noqa: BLE001 - whatever it was, the lane's loop raises it
                self._error = error
                self._give_back(batch or ())
            finally:
                self._queue.task_done()

    def _give_back(self, batch: Sequence[Made]) -> None:
        """Another lane's volume may work. When not even that can be written, the claim goes stale by itself."""
        for prompt_id in {made.prompt.id for made in batch}:
            if self._lane.held(prompt_id):
                try:
                    self._lane.release(prompt_id)
                except OutputVolumeError as error:
                    assert self._error is not None
                    self._error.add_note(f"the claim of {prompt_id} could not be released: {error}")

    def _write(self, batch: Sequence[Made]) -> None:
        """Each image whole under a name of its own, then their lines, then their final names: waits once for each kind."""
        layout = self._lane.layout
        encoded = list(self._encoders.map(self._encode, batch))
        temporary = {item.record["image"]: layout.scratch / f"{self._lane.owner}.{item.record['image']}" for item in encoded}
        lines = [self._line(item) for item in encoded]
        try:
            list(self._encoders.map(lambda item: write_fsynced(temporary[item.record["image"]], item.data), encoded))
            self._lane.record(lines)
            for item in encoded:
                # before the final name: whoever finds an image finds its thumbnail
                name = item.record["image"]
                replace(layout.thumbnail(name), item.thumbnail, layout.scratch / f"{self._lane.owner}.thumb.{name}")
            publish_all([(path, layout.image(name)) for name, path in temporary.items()])
        except OutputVolumeError:
            for path in temporary.values():
                with suppress(OSError):
                    path.unlink()
            raise
        for item, line in zip(encoded, lines, strict=True):
            self._lane.wrote(item.made.prompt, item.made.k)
            self._log(_word(item, line))

    def _encode(self, made: Made) -> _Encoded:
        began = time.monotonic()
        record = record_of(self._job, made.prompt, made.k)
        data = imagefile.encode(made.image, record, self._job.output.format)
        small = imagefile.thumbnail(Image.fromarray(made.image, "RGB"))
        return _Encoded(made, record, data, small, time.monotonic() - began)

    def _line(self, item: _Encoded) -> Json:
        return {
            **item.record,
            "file": self._lane.layout.image_file(item.record["image"]),
            "sha256": sha256(item.data).hexdigest(),
            "bytes": len(item.data),
            "seconds": round(item.made.seconds, 3),
            "lane": str(self._lane.owner),
            "time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
        }


def _word(item: _Encoded, line: Json) -> str:
    """The log's line of an image."""
    names = ("id", "image", "seed", "width", "height", "steps", "seconds", "bytes", "lane")
    return json.dumps({"event": "image", **{name: line[name] for name in names}, "encode_seconds": round(item.seconds, 3)})
