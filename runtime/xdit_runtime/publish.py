"""Manifest and gallery on the volume: brought up to date every 30 s by the lowest live replica, and by the one that ends
the job.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_runtime import gallery, imagefile
from xdit_runtime.gallery import PAGE, Page
from xdit_runtime.ledger import done
from xdit_runtime.ledger.crashes import Failed
from xdit_runtime.ledger.heartbeat import Watch
from xdit_runtime.ledger.owner import Owner
from xdit_runtime.manifest import Manifest
from xdit_runtime.paths import Layout
from xdit_runtime.prompts import FrozenPrompts
from xdit_runtime.volume import OutputVolumeError, guarded, listing, replace

INTERVAL = 30.0
_LIVE_SECONDS = 60.0
"""A lane whose heartbeat was seen to move within this time is alive; also any lane at first sight."""
_SHARE = 20
"""The whole manifest is written again after this many times what writing it took: a twentieth of a thread at most."""


class Publisher:
    """Builds the derived files; writes only what differs from what it wrote last."""

    def __init__(
        self,
        job: Job,
        layout: Layout,
        prompts: FrozenPrompts,
        replica: int,
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """layout: settled. name: of this process among those that share the directory."""
        self._job = job
        self._layout = layout
        self._prompts = prompts
        self._replica = replica
        self._name = name
        self._clock = clock
        self._manifest = Manifest(layout, prompts)
        self._failed = Failed(layout)
        self._left_out = [{"line": problem.line, "reasons": [problem.text]} for problem in prompts.left_out()]
        self._written: dict[Path, int] = {}
        self._pages: dict[int, int] = {}
        self._failures = 0
        self._manifest_due = 0.0
        self._watch = Watch(layout.lanes, clock)
        self._lock = threading.Lock()

    def elected(self) -> bool:
        """Whether no replica with a lower number is alive. Two that both think so do no harm."""
        owners = [owner for name in listing(self._layout.lanes) if (owner := Owner.parse(name)) is not None]
        return all(self._watch.still_for(str(o)) >= _LIVE_SECONDS for o in owners if o.replica < self._replica)

    def publish(self, *, final: bool = True) -> None:
        """Bring gallery and manifest up to date. Raises OutputVolumeError.

        final: also what takes long: thumbnails that a dead node took with it, and the manifest however large it is.
        """
        with self._lock:
            self._manifest.look()
            if final:
                self._thumbnails()
            failed = self._failed.records()
            self._gallery([str(record["id"]) for record in failed])
            if len(failed) + len(self._left_out) != self._failures:
                self._failures = len(failed) + len(self._left_out)
                self._write(self._layout.failures, _jsonl([*failed, *self._left_out]))
            if final or self._clock() >= self._manifest_due:
                began = self._clock()
                self._write_manifest()
                ended = self._clock()
                self._manifest_due = ended + _SHARE * (ended - began)
            self._manifest.close()

    def _gallery(self, failed: Sequence[str]) -> None:
        strangers = self._manifest.strangers
        total, completed = self._prompts.total, int(self._manifest.done.sum())
        summary = gallery.Summary(
            title=self._job.name,
            model=self._job.model.id,
            completed=completed,
            total=total,
            failed=len(failed),
            left_out=len(self._left_out),
            others=len(strangers),
            ended=self._manifest.complete(failed),
        )
        pages: Sequence[Page] = ()
        if total + len(strangers) > PAGE:
            pages = [*self._own_pages(), *_strange_pages(len(strangers), -(-total // PAGE))]
            for each in pages:
                self._page(each, len(pages), strangers)
            shown = self._manifest.newest()
        else:
            shown = [*self._manifest.lines(0, total), *self._manifest.strange_lines(strangers)]
        self._write(self._layout.index, gallery.first_page(summary, self._layout, pages, shown).encode())

    def _own_pages(self) -> list[Page]:
        total = self._prompts.total
        begins = np.arange(0, total, PAGE)
        there = np.add.reduceat(self._manifest.done, begins, dtype=np.int64)
        return [
            Page(number, int(begin) + 1, min(PAGE, total - int(begin)), int(count), strange=False)
            for number, (begin, count) in enumerate(zip(begins, there, strict=True), 1)
        ]

    def _page(self, page: Page, count: int, strangers: Sequence[str]) -> None:
        path, first = self._layout.page(page.number), page.first - 1
        names = tuple(strangers[first : first + page.size]) if page.strange else ()
        state = hash((page, count, names))
        if self._pages.get(page.number) == state:
            return
        self._pages[page.number] = state
        if page.there == page.size and not page.strange and _starts_with(path, gallery.mark(page, count, self._layout.uid8)):
            return
        lines = self._manifest.strange_lines(names) if page.strange else self._manifest.lines(first, first + page.size)
        self._write(path, gallery.page(page, count, self._job.name, self._layout, lines).encode())

    def _write_manifest(self) -> None:
        path, temporary = self._layout.manifest, self._layout.scratch / f"publish-{self._name}"
        digest = 0
        with guarded(temporary):
            with temporary.open("wb") as out:
                for part in self._manifest.whole():
                    digest = hash((digest, part))
                    out.write(part)
            if self._written.get(path) == digest:
                temporary.unlink()
            else:
                temporary.replace(path)
                self._written[path] = digest

    def _write(self, path: Path, data: bytes) -> None:
        digest = hash(data)
        if self._written.get(path) != digest:
            replace(path, data, self._layout.scratch / f"publish-{self._name}")
            self._written[path] = digest

    def _thumbnails(self) -> None:
        for name in done.without_thumbnail(self._layout):
            path = self._layout.image(name)
            with guarded(path), suppress(FileNotFoundError), Image.open(path) as picture:
                small = imagefile.thumbnail(picture)
                replace(self._layout.thumbnail(name), small, self._layout.scratch / f"publish-{self._name}")


def _strange_pages(images: int, before: int) -> list[Page]:
    sizes = [min(PAGE, images - begin) for begin in range(0, images, PAGE)]
    return [Page(before + n + 1, n * PAGE + 1, size, size, strange=True) for n, size in enumerate(sizes)]


def _jsonl(records: Iterable[Json]) -> bytes:
    ordered = sorted(records, key=lambda record: int(record["line"]))
    return b"".join(json.dumps(record).encode() + b"\n" for record in ordered)


def _starts_with(path: Path, text: str) -> bool:
    wanted = text.encode()
    with guarded(path):
        try:
            with path.open("rb") as file:
                return file.read(len(wanted)) == wanted
        except FileNotFoundError:
            return False


def keep_published(publisher: Publisher, done: threading.Event, say: Callable[[str], None]) -> None:
    """Publish every INTERVAL seconds until `done`. A volume that fails ends the job through the ledger, not here."""
    while not done.wait(INTERVAL):
        try:
            if publisher.elected():
                publisher.publish(final=False)
        except OutputVolumeError as error:
            say(f"the gallery was not brought up to date: {error}")
