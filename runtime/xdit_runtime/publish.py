"""Manifest and gallery on the volume: rebuilt every 30 s by the lowest live replica, and by the one that ends the job."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from xdit_api.job import Job
from xdit_runtime import gallery, imagefile, manifest
from xdit_runtime.ledger.heartbeat import Watch
from xdit_runtime.ledger.owner import Owner
from xdit_runtime.paths import Layout
from xdit_runtime.prompts import FrozenPrompts
from xdit_runtime.volume import OutputVolumeError, guarded, replace

INTERVAL = 30.0
_LIVE_SECONDS = 60.0
"""A lane whose heartbeat was seen to move within this time is alive; also any lane at first sight."""


class Publisher:
    """Builds the derived files; writes only what differs from what it wrote last."""

    def __init__(self, job: Job, layout: Layout, prompts: FrozenPrompts, replica: int, name: str) -> None:
        """name: of this process among those that share the directory."""
        self._job = job
        self._layout = layout
        self._replica = replica
        self._name = name
        self._manifest = manifest.Manifest(layout, prompts)
        self._total = prompts.total
        self._written: dict[Path, int] = {}
        self._watch = Watch(layout.lanes, time.monotonic)
        self._lock = threading.Lock()

    def elected(self) -> bool:
        """Whether no replica with a lower number is alive. Two that both think so do no harm."""
        with guarded(self._layout.lanes):
            owners = [owner for path in self._layout.lanes.iterdir() if (owner := Owner.parse(path.name)) is not None]
        return all(self._watch.still_for(str(o)) >= _LIVE_SECONDS for o in owners if o.replica < self._replica)

    def publish(self) -> None:
        """Bring manifest and gallery up to date. Raises OutputVolumeError."""
        with self._lock:
            lines = self._manifest.lines()
            for path in manifest.missing_thumbnails(self._layout, lines):
                with guarded(path), Image.open(path) as picture:
                    self._write(self._layout.thumbnail(path.stem), imagefile.thumbnail(picture))
            summary = gallery.Summary(self._job.name, len(lines), max(self._total, len(lines)), self._job.model.id)
            for number, page in enumerate(gallery.pages(lines, summary), 1):
                self._write(self._layout.page(number), page.encode())
            self._write(self._layout.manifest, b"".join(manifest.encode(lines)))

    def _write(self, path: Path, data: bytes) -> None:
        digest = hash(data)
        if self._written.get(path) != digest:
            replace(path, data, self._layout.scratch / f"publish-{self._name}")
            self._written[path] = digest


def keep_published(publisher: Publisher, done: threading.Event, say: Callable[[str], None]) -> None:
    """Publish every INTERVAL seconds until `done`. A volume that fails ends the job through the ledger, not here."""
    while not done.wait(INTERVAL):
        try:
            if publisher.elected():
                publisher.publish()
        except OutputVolumeError as error:
            say(f"the gallery was not brought up to date: {error}")
