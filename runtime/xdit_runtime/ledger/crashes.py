"""Poison prompts: what kills the process that draws it twice is not tried a third time.

A crash is charged to a prompt only by a supervisor that saw a rank die while the lane drew it. Two crashes of two lives
of lanes fail the prompt for this resource; so does a prompt that the engine refuses. It stays failed for this resource;
another one may try it again.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xdit_api.base import Json
from xdit_api.prompts import Prompt
from xdit_runtime.ledger import claims
from xdit_runtime.ledger.temporary import scratch
from xdit_runtime.paths import Layout
from xdit_runtime.volume import create_once, guarded, listing

CRASHES = 2
"""That fail a prompt."""


@dataclass(frozen=True, slots=True)
class Crash:
    """One death that a claim is charged with."""

    owner: str
    """The life of the lane that held the claim."""
    reason: str


def mark(layout: Layout, claims_in_work: Sequence[str], reason: str) -> None:
    """Charge claims ('<prompt id>.<generation>') with a crash: they are free at once. Safe to repeat.

    For supervisors. Raises OutputVolumeError, ValueError for a name that is not a claim's.
    """
    for name in claims_in_work:
        claim = claims.parse(name)
        if claim is None:
            raise ValueError(f"{name!r} is not a claim: it must be <prompt id>.<generation>")
        with guarded(layout.claims):
            owner = layout.claim(*claim).read_bytes().decode(errors="replace")
        record = {"uid8": layout.uid8, "owner": owner, "reason": reason, "time": time.time()}
        create_once(layout.crashed(*claim), json.dumps(record).encode(), scratch(layout))


def crashes(layout: Layout, prompt_id: str, generation: int) -> list[Crash]:
    """This resource's crashes of a prompt in generations up to that one. Raises OutputVolumeError."""
    found = []
    for n in range(1, generation + 1):
        record = _read(layout.crashed(prompt_id, n))
        if record is not None and record["uid8"] == layout.uid8:
            found.append(Crash(record["owner"], record["reason"]))
    return found


def poisonous(found: Sequence[Crash]) -> bool:
    """Whether a prompt with these crashes is not to be tried again."""
    return len({crash.owner for crash in found}) >= CRASHES


def fail(layout: Layout, prompt: Prompt, reasons: Sequence[str]) -> None:
    """Nobody of this resource tries the prompt again. The first word stands. Raises OutputVolumeError."""
    record = {"id": prompt.id, "line": prompt.line, "prompt": prompt.prompt, "reasons": list(reasons), "time": time.time()}
    create_once(layout.failure(prompt.id), json.dumps(record).encode(), scratch(layout))


class Failed:
    """The prompts of this resource that failed; each file is read once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._records: dict[str, Json] = {}

    def look(self) -> set[str]:
        """Their ids. Raises OutputVolumeError."""
        return {name.removesuffix(".json") for name in listing(self._layout.failed) if name.endswith(".json")}

    def records(self) -> list[Json]:
        """What is known of them, in the order of the file. Raises OutputVolumeError."""
        for prompt_id in self.look() - self._records.keys():
            record = _read(self._layout.failure(prompt_id))
            if record is not None:
                self._records[prompt_id] = record
        return sorted(self._records.values(), key=lambda record: int(record["line"]))


def _read(path: Path) -> Json | None:
    with guarded(path):
        try:
            found: Json = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
    return found
