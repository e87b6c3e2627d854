"""The first thing a lane does with an output directory: agree on identity and prompts, or be refused.

Any number of pods may do it at the same time; the first one decides, the others find what it decided.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from xdit_api.base import Json
from xdit_api.job import Job
from xdit_api.prompts import Prompt, image_names
from xdit_api.report import Counts
from xdit_runtime.imagefile import read_record
from xdit_runtime.ledger import done, identity
from xdit_runtime.ledger.journal import JournalReader
from xdit_runtime.paths import Layout
from xdit_runtime.prompts import FrozenPrompts, frozen, read_source
from xdit_runtime.record import difference, record_of
from xdit_runtime.volume import create_once, guarded, publish


def scratch(layout: Layout) -> Path:
    """A name in the scratch directory that nobody else has."""
    return layout.scratch / f"open-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def open_prompts(job: Job, layout: Layout) -> FrozenPrompts:
    """The frozen prompts; the first caller freezes them.

    Raises PromptFileError, IdentityMismatchError (an image that exists was made from other inputs), OutputVolumeError.
    """
    with guarded(layout.prompts):
        exists = layout.prompts.exists()
    if not exists:
        _freeze(job, layout)
    with guarded(layout.prompt_index):
        indexed = layout.prompt_index.exists()
    if not indexed:
        create_once(layout.prompt_index, frozen.table_of(layout.prompts).tobytes(), scratch(layout))
    with guarded(layout.prompt_index):
        table = np.fromfile(layout.prompt_index, dtype=frozen.ROW)
    return FrozenPrompts(layout.prompts, table)


def skipped(layout: Layout) -> int:
    """Images that were there when the prompts were frozen."""
    with guarded(layout.start):
        return int(json.loads(layout.start.read_bytes())["skipped"])


def survey(layout: Layout, prompts: FrozenPrompts) -> Counts:
    """The whole job's counts, by one listing. Raises OutputVolumeError."""
    completed = done.count(done.finished(layout, prompts))
    return Counts(total=prompts.total, completed=completed, skipped=skipped(layout))


def _freeze(job: Job, layout: Layout) -> None:
    there = set(done.finished_names(layout))
    temporary = scratch(layout)
    with guarded(temporary):
        try:
            with temporary.open("wb") as out:
                existing = _copy(read_source(job), out.write, there)
                out.flush()
                os.fsync(out.fileno())
            _check_made(job, layout, existing)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    # before the prompts: nobody makes an image before they exist
    count = sum(len([name for name in image_names(p) if name in there]) for p in existing)
    create_once(layout.start, json.dumps({"skipped": count}).encode(), scratch(layout))
    publish(temporary, layout.prompts)


def _copy(source: Iterable[Prompt], write: Callable[[bytes], int], there: set[str]) -> list[Prompt]:
    existing = []
    for prompt in source:
        write(frozen.encode(prompt))
        if there and any(name in there for name in image_names(prompt)):
            existing.append(prompt)
    return existing


def _check_made(job: Job, layout: Layout, prompts: list[Prompt]) -> None:
    """Compare the images that exist with what this job would make. Raises identity.IdentityMismatchError."""
    wanted = {
        record["image"]: record
        for prompt in prompts
        for record in (record_of(job, prompt, k) for k in range(prompt.images))
        if layout.image(record["image"]).exists()
    }
    if not wanted:
        return
    made: dict[str, list[Json]] = {}
    for line in JournalReader(layout.journals).read():
        if line["image"] in wanted:
            made.setdefault(line["image"], []).append(line)
    for name, here in wanted.items():
        found = made.get(name, [])
        if found and all(line["key"] == here["key"] for line in found):
            continue
        # no line, or lines of several lives of that name: the image itself knows
        there = read_record(layout.image(name))
        if there is None:
            raise identity.IdentityMismatchError(f"{layout.image(name)} exists but was not made by xdit-worker: move it away")
        if there["key"] != here["key"]:
            raise identity.IdentityMismatchError(
                f"{layout.image(name)} was made from other inputs: {difference(there, here)}. "
                "Give the prompt another id, or use another output path."
            )
