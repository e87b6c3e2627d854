"""The manifest: one line an image, derived from journals and files.

The journals' own bytes are the lines: nothing of an image is kept in memory but where its line is (16 bytes), and a
rebuild copies long runs of lines.
"""

import hashlib
import heapq
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt

from xdit_api.base import Json
from xdit_runtime.imagefile import read_record
from xdit_runtime.ledger import journal
from xdit_runtime.ledger.done import Finished, places
from xdit_runtime.ledger.journal import JournalReader, Place
from xdit_runtime.ledger.opening import complete, failed_mask
from xdit_runtime.paths import Layout
from xdit_runtime.prompts import FrozenPrompts
from xdit_runtime.volume import guarded

Numbers = npt.NDArray[np.int64]
"""Images of this resource by number: those of the first prompt, then those of the second, …"""
NEWEST = 24
"""Images that are remembered as the newest."""
_CHUNK = 4096
_COPY_BYTES = 4 * 2**20
_MOST_FILES = 200


class Manifest:
    """What is known of every image in a directory; `look` reads only what is new."""

    def __init__(self, layout: Layout, prompts: FrozenPrompts) -> None:
        self._layout = layout
        self._prompts = prompts
        self._finished = Finished(layout, prompts)
        self._reader = JournalReader(layout.journals)
        self._start: Numbers = np.concatenate([[0], np.cumsum(prompts.images, dtype=np.int64)])
        self._journals: list[str] = []
        self._number_of: dict[str, int] = {}
        self._journal = np.zeros(prompts.total, dtype=np.uint32)
        """1 + the number of the journal that has the image's line; 0 for none."""
        self._offset = np.zeros(prompts.total, dtype=np.uint64)
        self._length = np.zeros(prompts.total, dtype=np.uint32)
        self._also: dict[int, list[Place]] = {}
        """Further lines of an image: several lives made it."""
        self._strangers: dict[str, list[Place]] = {}
        """Lines of images that this resource does not ask for."""
        self._answers: dict[str, tuple[int, bytes | None]] = {}
        """What the image itself decided, by its name: of how many lines, which one. None: there is no image of ours."""
        self._newest: list[tuple[str, str]] = []
        self._files: dict[str, int] = {}
        self.done: npt.NDArray[np.bool_] = np.zeros(prompts.total, dtype=np.bool_)
        """Which images of this resource exist, by number."""

    @property
    def strangers(self) -> list[str]:
        """Names of images that other resources made, sorted."""
        return sorted(self._finished.others)

    def complete(self, failed: Iterable[str]) -> bool:
        """Whether every image of this resource exists, but for those of failed prompts."""
        return complete(self._prompts, self._finished.bits, failed_mask(self._prompts, failed))

    def look(self) -> None:
        """Find new images and lines. Raises OutputVolumeError."""
        # images first: an image has had its line before it had its name
        self._finished.look()
        position = np.repeat(np.arange(len(self._prompts)), self._prompts.images)
        k = (np.arange(len(position)) - self._start[position]).astype(np.uint64)
        self.done = (self._finished.bits[position] >> k) & np.uint64(1) != 0
        new = self._reader.places()
        while chunk := list(islice(new, _CHUNK)):
            self._learn(chunk)

    def _learn(self, lines: Sequence[tuple[Place, Json]]) -> None:
        found = places(self._prompts, (str(line["image"]) for _, line in lines))
        for (place, _), (name, position, k) in zip(lines, found, strict=True):
            if position < 0:
                self._strangers.setdefault(name, []).append(place)
                continue
            number = int(self._start[position]) + k
            if self._journal[number]:
                self._also.setdefault(number, []).append(place)
            else:
                self._journal[number] = self._journal_number(place.journal)
                self._offset[number], self._length[number] = place.offset, place.length
        self._newest = heapq.nlargest(NEWEST, [*self._newest, *((line["time"], line["image"]) for _, line in lines)])

    def _journal_number(self, name: str) -> int:
        if name not in self._number_of:
            self._journals.append(name)
            self._number_of[name] = len(self._journals)
        return self._number_of[name]

    def newest(self) -> list[Json]:
        """Lines of the newest images of this resource, newest first. Raises OutputVolumeError."""
        numbers = []
        for _, position, k in places(self._prompts, (name for _, name in self._newest)):
            number = int(self._start[position]) + k if position >= 0 else -1
            if number >= 0 and self.done[number] and number not in numbers:
                numbers.append(number)
        return [line for number in numbers for line in self.lines(number, number + 1)]

    def lines(self, begin: int, end: int) -> list[Json]:
        """Lines of the images of this resource that exist, by number. Raises OutputVolumeError."""
        numbers = begin + np.flatnonzero(self.done[begin:end])
        return [json.loads(line) for part in self._parts(numbers) for line in part.splitlines()]

    def strange_lines(self, names: Sequence[str]) -> list[Json]:
        """Lines of images of other resources. Raises OutputVolumeError."""
        return [json.loads(line) for name in names if (line := self._decide(name, self._strangers.get(name, []))) is not None]

    def whole(self) -> Iterator[bytes]:
        """The manifest: this resource's images in the order of its prompts, then others by name. Raises OutputVolumeError."""
        yield from self._parts(np.flatnonzero(self.done))
        for name in self.strangers:
            line = self._decide(name, self._strangers.get(name, []))
            if line is not None:
                yield line

    def close(self) -> None:
        """Close the journals."""
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()

    def _parts(self, numbers: Numbers) -> Iterator[bytes]:
        """Whole lines, as many as stand one after the other in a journal."""
        if not len(numbers):
            return
        journals, offsets, lengths = self._journal[numbers], self._offset[numbers], self._length[numbers]
        special = (journals == 0) | np.isin(numbers, list(self._also))
        follows = (journals[1:] == journals[:-1]) & (offsets[1:] == offsets[:-1] + lengths[:-1]) & ~special[1:] & ~special[:-1]
        begins = [0, *(np.flatnonzero(~follows) + 1).tolist(), len(numbers)]
        for first, behind in pairwise(begins):
            if special[first]:
                number = int(numbers[first])
                known = [] if not journals[first] else [self._place(number), *self._also.get(number, [])]
                line = self._decide(self._name(number), known)
                if line is not None:
                    yield line
            else:
                name, offset = self._journals[int(journals[first]) - 1], int(offsets[first])
                yield self._read(name, offset, int(offsets[behind - 1]) + int(lengths[behind - 1]) - offset)

    def _place(self, number: int) -> Place:
        return Place(self._journals[self._journal[number] - 1], int(self._offset[number]), int(self._length[number]))

    def _name(self, number: int) -> str:
        position = int(np.searchsorted(self._start, number, side="right")) - 1
        prompt = self._prompts[position]
        return prompt.id if prompt.images == 1 else f"{prompt.id}.{number - int(self._start[position])}"

    def _decide(self, name: str, known: Sequence[Place]) -> bytes | None:
        if len(known) == 1:
            return self._read(known[0].journal, known[0].offset, known[0].length)
        answer = self._answers.get(name)
        if answer is None or answer[0] != len(known):
            lines = [self._read(place.journal, place.offset, place.length) for place in known]
            answer = self._answers[name] = (len(known), self._ask_file(name, lines))
        return answer[1]

    def _ask_file(self, name: str, lines: Sequence[bytes]) -> bytes | None:
        """No line, or several lives that made the same image: the file decides, its own metadata fill a gap."""
        path = self._layout.image(name)
        by_digest = {json.loads(line)["sha256"]: line for line in reversed(lines)}
        if len(by_digest) == 1:
            return lines[0]
        with guarded(path):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
            digest = hashlib.sha256(data).hexdigest()
            if digest in by_digest:
                return by_digest[digest]
            record = read_record(path)
        if record is None:
            return None
        return journal.encode({**record, "file": self._layout.image_file(name), "sha256": digest, "bytes": len(data)})

    def _read(self, name: str, offset: int, length: int) -> bytes:
        path = self._layout.journals / name
        with guarded(path):
            if name not in self._files:
                if len(self._files) >= _MOST_FILES:
                    self.close()
                self._files[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            handle, parts = self._files[name], []
            while length:
                part = os.pread(handle, min(length, _COPY_BYTES), offset)
                if not part:
                    raise OSError(5, "a journal is shorter than it was", str(path))
                parts.append(part)
                offset, length = offset + len(part), length - len(part)
        return b"".join(parts)
