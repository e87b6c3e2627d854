"""Whether a lane inside this pod is started again after a failure, and when. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xdit_api.report import Exit

LIMIT = 3
"""Restarts in a row of a lane that makes no image."""
_POISON = 2
"""Crashes after which the ledger fails a prompt."""
_FINAL = (Exit.OUTPUT_VOLUME, Exit.GPU_LOST, Exit.GPU_COUNT, Exit.STALLED, Exit.STOPPED)
"""What the same processes would meet again, or what nobody but another pod can cure."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a lane has been through in this attempt."""

    in_a_row: int = 0
    """Failures since its last image, less those that a prompt explains which has failed by now."""
    hardware: int = 0
    """Failures of its GPUs. Images in between do not excuse them: the node must hear of it."""
    crashes: Mapping[str, int] = field(default_factory=dict)
    """Prompt id → how often the lane died of it."""


def may_help(exit: Exit) -> bool:
    """Whether the same lane may do better in a new life."""
    return not exit.permanent and exit not in _FINAL


def after(record: Record, exit: Exit, made: int, claims: Iterable[str]) -> Record:
    """The record after one more failure. made: images of the life that ended. claims: `<id>.<generation>` it died of."""
    in_a_row = 1 if made else record.in_a_row + 1
    crashes = dict(record.crashes)
    for claim in claims:
        prompt = claim.rpartition(".")[0]
        crashes[prompt] = crashes.get(prompt, 0) + 1
    poisoned = {prompt for prompt, count in crashes.items() if count >= _POISON}
    if poisoned:
        in_a_row = max(0, in_a_row - _POISON)
    left = {prompt: count for prompt, count in crashes.items() if prompt not in poisoned}
    return Record(in_a_row, record.hardware + exit.hardware, left)


def wait(record: Record, limit: int, first: float) -> float | None:
    """Seconds until the next life: `first`, then twice as long each time; None when the lane has failed too often."""
    if max(record.in_a_row, record.hardware) > limit:
        return None
    return first * (1 << max(0, record.in_a_row - 1))
