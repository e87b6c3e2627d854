"""Snapshot -> Decision. Pure; one module per policy, each a table of its own.

completion   a worker says that the whole job is drained
failure      which end of which pod is the cause, among echoes
limits       backoffLimit, failedPromptsLimit, activeDeadlineSeconds, permanent exit codes
restart      attempts: the number is written first, pods follow; backoff
idle         a replica that has nothing left to claim gives its GPUs back
running      Starting or Running

Not here yet, each with its place: disruptions (evicted or replaced pods are free), startdeadline, ttl, nodeloss,
hardware, queue (Kueue).
"""

from xdit_operator.decide import completion, failure, idle, limits, restart
from xdit_operator.decide.types import Decision, Failure, Outcome, Turn
from xdit_operator.observe import Snapshot

__all__ = ["Decision", "Failure", "Outcome", "Turn", "decide"]


def decide(s: Snapshot) -> Decision:
    """What to do now. A terminal condition is never taken back."""
    before = completion.ended(s.status)
    if before is not None:
        return _stopped(s, before)
    # an attempt whose successor is written has been charged; pods that nobody wants may end as they like
    present = [g for g in s.groups if g.up and g.attempt == restart.attempt(s, g.replica) and not s.spec.suspend]
    causes = {g.replica: failure.cause(g, s.now) for g in present}
    failures = {r: c for r, c in causes.items() if isinstance(c, Failure)}
    verdict = completion.drained(s) or limits.failed_prompts(s) or limits.permanent(failures)
    verdict = verdict or limits.backoff(s, failures) or limits.deadline(s)
    first = min(failures.values(), key=lambda f: f.time, default=None)
    if verdict is not None:
        return _stopped(s, verdict, first)
    if s.spec.suspend:
        turns = tuple(_down(s, index, "Idle" if _is_idle(s, index) else "Stopped") for index in range(s.spec.replicas))
        return Decision(turns, suspended=True, leftover=_leftover(s))
    turns = tuple(restart.turn(s, index, failures.get(index)) for index in range(s.spec.replicas))
    turns = idle.settle(s, turns)
    waits = tuple(c for c in causes.values() if c is not None and not isinstance(c, Failure))
    restarts = tuple(t.next_restart for t in turns if t.next_restart is not None and not t.up)
    return Decision(turns, failure=first, leftover=_leftover(s), wake=(*waits, *restarts, *limits.deadline_at(s)))


def _stopped(s: Snapshot, outcome: Outcome, first: Failure | None = None) -> Decision:
    """No pods; what each replica was when the job ended stays visible."""
    indexes = sorted({r.index for r in s.status.replicas} | {g.replica for g in s.groups})
    turns = []
    for index in indexes:
        if index in completion.drained_replicas(s):
            phase = "Drained"
        elif first is not None and first.replica == index:
            phase = "Failed"
        else:
            old = restart.remembered(s, index).phase
            phase = old if old in ("Drained", "Failed", "Idle") else "Stopped"
        turns.append(_down(s, index, phase))
    return Decision(tuple(turns), outcome=outcome, failure=first)


def _down(s: Snapshot, index: int, phase: str) -> Turn:
    return Turn(index, restart.attempt(s, index), False, phase, restart.remembered(s, index).restarts)


def _is_idle(s: Snapshot, index: int) -> bool:
    return restart.remembered(s, index).phase == "Idle"


def _leftover(s: Snapshot) -> tuple[int, ...]:
    return tuple(g.replica for g in s.groups if g.replica >= s.spec.replicas)
