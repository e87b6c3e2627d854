"""The manifest: one line an image, derived from journals and files."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from xdit_api.base import Json
from xdit_runtime.imagefile import read_record
from xdit_runtime.ledger.done import finished_names
from xdit_runtime.ledger.journal import JournalReader
from xdit_runtime.paths import Layout
from xdit_runtime.prompts import FrozenPrompts
from xdit_runtime.volume import guarded


class Manifest:
    """What is known of every image in a directory; each `lines` reads only what is new in the journals."""

    def __init__(self, layout: Layout, prompts: FrozenPrompts) -> None:
        self._layout = layout
        self._prompts = prompts
        self._reader = JournalReader(layout.journals)
        self._journaled: dict[str, list[Json]] = {}
        self._settled: dict[str, tuple[int, Json]] = {}

    def lines(self) -> list[Json]:
        """One record an image: this job's in the order of its prompts, then those of earlier jobs by name."""
        for new in self._reader.read():
            self._journaled.setdefault(new["image"], []).append(new)
        found = [line for name in finished_names(self._layout) if (line := self._line(name)) is not None]
        positions = self._prompts.find([str(line["id"]) for line in found])
        order = sorted(
            zip(positions, found, strict=True),
            key=lambda item: (item[0] < 0, item[0], item[1]["k"] if item[0] >= 0 else 0, item[1]["image"]),
        )
        return [line for _, line in order]

    def _line(self, name: str) -> Json | None:
        candidates = self._journaled.get(name, [])
        settled = self._settled.get(name)
        if settled is not None and settled[0] == len(candidates):
            return settled[1]
        line = candidates[0] if len({c["sha256"] for c in candidates}) == 1 else self._ask_file(name, candidates)
        if line is not None:
            self._settled[name] = (len(candidates), line)
        return line

    def _ask_file(self, name: str, candidates: list[Json]) -> Json | None:
        """No line, or several lives that made the same image: the file decides, its own metadata fill a gap."""
        path = self._layout.image(name)
        with guarded(path):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        digest = hashlib.sha256(data).hexdigest()
        for line in candidates:
            if line["sha256"] == digest:
                return line
        record = read_record(path)
        return None if record is None else {**record, "file": path.name, "sha256": digest, "bytes": len(data)}


def encode(lines: list[Json]) -> Iterator[bytes]:
    """manifest.jsonl. A character that is not Unicode stays the escape that the user wrote."""
    for line in lines:
        yield json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def missing_thumbnails(layout: Layout, lines: list[Json]) -> list[Path]:
    """Images whose thumbnail was lost in a crash."""
    with guarded(layout.thumbnails):
        there = {path.name for path in layout.thumbnails.iterdir()}
    return [layout.image(line["image"]) for line in lines if layout.thumbnail(line["image"]).name not in there]
