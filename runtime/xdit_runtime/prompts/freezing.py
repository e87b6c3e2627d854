"""The user's prompt file -> the frozen file and its table, in one pass. Holds no prompt: 35 bytes of each at the end."""

import heapq
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from xdit_api.job import Job
from xdit_api.prompts import Problem, Prompt, same_id, summary
from xdit_runtime.prompts.coding import decode, encode, encode_left_out
from xdit_runtime.prompts.source import PromptFileError, read_source
from xdit_runtime.prompts.table import ROW, Table, last_row, row
from xdit_runtime.volume import guarded

MAX_KEPT = 1000
"""Problems that are kept when the file is refused; the rest is counted."""
MAX_LEFT_OUT = 100_000
"""Lines that policy Skip may leave out. More than that is another file than the one that was meant."""
_BLOCK = 2**20
Pairs = npt.NDArray[np.int64]
"""(position of a prompt whose id was used before, position of the first one with that id), by position."""


@dataclass(slots=True)
class _Problems:
    """The first ones, and how many there are."""

    limit: int
    first: list[Problem] = field(default_factory=list)
    count: int = 0
    fatal: bool = False

    def add(self, problem: Problem) -> None:
        self.count += 1
        self.fatal |= problem.fatal
        if problem.fatal or len(self.first) < self.limit:
            self.first.append(problem)


def freeze(job: Job, lines: Path, table: Path) -> None:
    """Write the frozen prompts and their table under temporary names, to the disk.

    Raises PromptFileError when the job must not start with this file, OutputVolumeError.
    """
    skip = job.prompts.policy == "Skip"
    problems = _Problems(MAX_LEFT_OUT if skip else MAX_KEPT)
    with guarded(lines), lines.open("wb+") as out:
        with table.open("wb") as rows:
            end = _copy(job, out, rows, problems)
        out.flush()
        found = np.fromfile(table, dtype=ROW)
        repeated = _repeated(found["hash"])
        _refuse(job, problems, len(found), repeated, _explained(out, found, end, repeated))
        left_out = heapq.merge(problems.first, list(_explained(out, found, end, repeated)), key=_line)
        if len(repeated):
            found, end = _without(out, found, end, repeated)
            found.tofile(table)
        out.seek(end)
        out.truncate()
        out.writelines(map(encode_left_out, left_out))
        out.flush()
        os.fsync(out.fileno())
        with table.open("ab") as rows:
            rows.write(last_row(len(found), end))
            rows.flush()
            os.fsync(rows.fileno())


def _copy(job: Job, out: BinaryIO, rows: BinaryIO, problems: _Problems) -> int:
    end = 0
    for item in read_source(job):
        if isinstance(item, Problem):
            problems.add(item)
            continue
        line = encode(item)
        out.write(line)
        rows.write(row(item, end))
        end += len(line)
    return end


def _repeated(hashes: npt.NDArray[np.uint64]) -> Pairs:
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    again = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
    first = order[np.searchsorted(ordered, ordered[again])]
    pairs = np.stack([order[again], first], axis=1)
    return pairs[np.argsort(pairs[:, 0])]


def _explained(out: BinaryIO, table: Table, end: int, repeated: Pairs) -> Iterator[Problem]:
    for position, first in repeated:
        prompt, other = _prompt(out, table, end, int(position)), _prompt(out, table, end, int(first))
        if prompt.id.lower() == other.id.lower():
            yield same_id(prompt, other.line)
        else:
            text = f"id '{prompt.id}' cannot be told from '{other.id}' of line {other.line} by its hash: change one of them"
            yield Problem(prompt.line, text)


def _prompt(out: BinaryIO, table: Table, end: int, position: int) -> Prompt:
    start = int(table["offset"][position])
    stop = int(table["offset"][position + 1]) if position + 1 < len(table) else end
    return decode(os.pread(out.fileno(), stop - start, start), position)


def _refuse(job: Job, problems: _Problems, good: int, repeated: Pairs, explained: Iterator[Problem]) -> None:
    count = problems.count + len(repeated)
    too_many = count > MAX_LEFT_OUT
    if not count or (job.prompts.policy == "Skip" and not problems.fatal and not too_many and good > len(repeated)):
        return
    shown = [*problems.first[:MAX_KEPT], *itertools.islice(explained, MAX_KEPT)]
    shown += [p for p in problems.first[MAX_KEPT:] if p.fatal]
    # what ends the file explains why Skip does not help
    shown.sort(key=lambda p: (not p.fatal, p.line))
    text = summary(job.prompts.path, shown[:MAX_KEPT], count)
    if too_many and job.prompts.policy == "Skip":
        text = f"policy Skip leaves out at most {MAX_LEFT_OUT} lines\n{text}"
    raise PromptFileError(text, shown[:MAX_KEPT])


def _without(out: BinaryIO, table: Table, end: int, repeated: Pairs) -> tuple[Table, int]:
    """Move the prompts that stay over those that do not; the new table and the new end."""
    gone = repeated[:, 0]
    starts = np.append(table["offset"], np.uint64(end))
    to = int(starts[gone[0]])
    for position, following in zip(gone, [*gone[1:], len(table)], strict=True):
        to = _move(out.fileno(), int(starts[position + 1]), int(starts[following]), to)
    lengths = np.delete(np.diff(starts), gone)
    kept = np.delete(table, gone)
    kept["offset"] = np.cumsum(lengths) - lengths
    return kept, to


def _move(handle: int, start: int, end: int, to: int) -> int:
    """Copy a part of a file to a place before it; where the copy ends."""
    while start < end:
        block = os.pread(handle, min(_BLOCK, end - start), start)
        os.pwrite(handle, block, to)
        start, to = start + len(block), to + len(block)
    return to


def _line(problem: Problem) -> int:
    return problem.line
