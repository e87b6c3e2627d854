"""The first thing a lane does with an output directory: agree on identity and prompts, or be refused.

Any number of pods may do it at the same time; the first one decides, the others find what it decided.
"""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdit_api.job import Job
from xdit_api.report import Counts
from xdit_runtime.imagefile import read_record
from xdit_runtime.ledger import done, identity
from xdit_runtime.ledger.crashes import Failed
from xdit_runtime.ledger.journal import JournalReader
from xdit_runtime.ledger.temporary import scratch
from xdit_runtime.paths import Layout
from xdit_runtime.prompts import FrozenPrompts
from xdit_runtime.prompts.freezing import freeze
from xdit_runtime.prompts.frozen import read_table
from xdit_runtime.record import difference, record_of
from xdit_runtime.volume import create_once, guarded, publish

SHARD_ABOVE = 10_000
"""Images of the first resource of a directory above which its images are in 256 directories."""


def settled(layout: Layout) -> Layout:
    """The layout with what was decided for its directory; call it when the prompts are frozen. Raises OutputVolumeError."""
    with guarded(layout.decision):
        try:
            decision = json.loads(layout.decision.read_bytes())
        except FileNotFoundError:
            return layout
    return dataclasses.replace(layout, sharded=bool(decision["sharded"]))


@dataclass(frozen=True, slots=True)
class Survey:
    """The whole job at one moment."""

    counts: Counts
    complete: bool
    """Every image exists or its prompt failed."""


def open_prompts(job: Job, layout: Layout) -> FrozenPrompts:
    """The frozen prompts; the first caller freezes them.

    Raises PromptFileError, IdentityMismatchError (an image that exists was made from other inputs), OutputVolumeError.
    """
    with guarded(layout.prompts):
        exists = layout.prompts.exists()
    if not exists:
        _freeze(job, layout)
    table = read_table(layout.prompt_index, layout.prompts)
    with guarded(layout.prompt_index):
        kept = layout.prompt_index.exists()
    if not kept:
        # whoever froze them died before it was kept; making it takes seconds for a million prompts
        create_once(layout.prompt_index, table.tobytes(), scratch(layout))
    return FrozenPrompts(layout.prompts, table)


def skipped(layout: Layout) -> int:
    """Images that were there when the prompts were frozen."""
    with guarded(layout.start):
        return int(json.loads(layout.start.read_bytes())["skipped"])


def survey(layout: Layout, prompts: FrozenPrompts) -> Survey:
    """The whole job, by one listing. Raises OutputVolumeError."""
    bits = done.finished(layout, prompts)
    failed = failed_mask(prompts, Failed(layout).look())
    counts = Counts(total=prompts.total, completed=done.count(bits), failed=int(failed.sum()), skipped=skipped(layout))
    return Survey(counts, complete(prompts, bits, failed))


def failed_mask(prompts: FrozenPrompts, failed: Iterable[str]) -> npt.NDArray[np.bool_]:
    """True at the position of each prompt that failed."""
    mask = np.zeros(len(prompts), dtype=np.bool_)
    positions = prompts.find(failed)
    mask[positions[positions >= 0]] = True
    return mask


def complete(prompts: FrozenPrompts, bits: done.Bits, failed: npt.NDArray[np.bool_]) -> bool:
    """Whether every image is there or its prompt failed."""
    return bool(((bits == done.wanted(prompts)) | failed).all())


def _freeze(job: Job, layout: Layout) -> None:
    lines, rows = scratch(layout), scratch(layout)
    try:
        freeze(job, lines, rows)
        prompts = FrozenPrompts(lines, read_table(rows, lines))
        try:
            _decide_layout(layout, prompts.total)
            there = _check_made(job, settled(layout), prompts)
        finally:
            prompts.close()
        # before the prompts: nobody makes an image before they exist
        create_once(layout.start, json.dumps({"skipped": there}).encode(), scratch(layout))
        if publish(lines, layout.prompts):
            publish(rows, layout.prompt_index)
    finally:
        for path in (lines, rows):
            with guarded(path):
                path.unlink(missing_ok=True)


def _decide_layout(layout: Layout, images: int) -> None:
    with guarded(layout.decision):
        if layout.decision.exists():
            return
    create_once(layout.decision, json.dumps({"sharded": images > SHARD_ABOVE}).encode() + b"\n", scratch(layout))


def _check_made(job: Job, layout: Layout, prompts: FrozenPrompts) -> int:
    """Compare the images that exist with what this job would make; how many there are.

    Raises identity.IdentityMismatchError.
    """
    wanted: dict[str, str] = {}
    at: dict[str, tuple[int, int]] = {}
    for name, position, k in done.places(prompts, done.finished_names(layout)):
        if position < 0:
            continue
        here = record_of(job, prompts[position], k)
        if here["image"] != name:
            raise identity.IdentityMismatchError(
                f"{layout.image(name)} exists: ids must differ by more than case, and this job has '{here['id']}'. "
                "Give the prompt another id, or use another output path."
            )
        wanted[name], at[name] = here["key"], (position, k)
    if not wanted:
        return 0
    made: dict[str, set[str]] = {}
    for line in JournalReader(layout.journals).read():
        if line["image"] in wanted:
            made.setdefault(line["image"], set()).add(line["key"])
    for name, key in wanted.items():
        if made.get(name) == {key}:
            continue
        # no line, or lines of several lives of that name: the image itself knows
        there = read_record(layout.image(name))
        if there is None:
            raise identity.IdentityMismatchError(f"{layout.image(name)} exists but was not made by xdit-worker: move it away")
        if there["key"] != key:
            position, k = at[name]
            raise identity.IdentityMismatchError(
                f"{layout.image(name)} was made from other inputs: {difference(there, record_of(job, prompts[position], k))}. "
                "Give the prompt another id, or use another output path."
            )
    return len(wanted)
