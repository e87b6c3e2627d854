"""A replica with nothing left to claim gives its GPUs back while others still work.

If all replicas end that way and none found the job drained, somebody left claims behind: replica 0 looks again.
"""

from dataclasses import replace

from xdit_operator.decide import restart
from xdit_operator.decide.types import Turn
from xdit_operator.observe import Group, Snapshot


def settle(s: Snapshot, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The turns, with idle replicas down."""
    turns = tuple(replace(t, up=False, phase="Idle", message="nothing left to claim") if _idle(s, t) else t for t in turns)
    if not turns or any(t.phase != "Idle" for t in turns):
        return turns
    first = turns[0]
    again = replace(
        first,
        attempt=first.attempt + 1,
        phase="Restarting",
        next_restart=s.now + restart.FIRST_DELAY,
        message="all replicas are idle, but the job is not complete: looking for claims that were left behind",
    )
    return (again, *turns[1:])


def _idle(s: Snapshot, turn: Turn) -> bool:
    if turn.phase == "Idle":
        return True
    group = s.group(turn.index)
    return turn.up and group is not None and group.up and group.attempt == turn.attempt and _leader_says_idle(group)


def _leader_says_idle(group: Group) -> bool:
    for pod in group.pods:
        if pod.ordinal == 0 and pod.attempt == group.attempt and pod.end is not None and pod.end.result is not None:
            return pod.end.result.outcome == "idle"
    return False
