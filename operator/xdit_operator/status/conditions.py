"""The six conditions and the phase. Table: Ready / Reconciling / Stalled / Complete / Failed / Suspended.

kstatus, Argo CD and Flux read Ready, Reconciling and Stalled; the latter two are never true together.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from xdit_api.status import MESSAGE_LIMIT, Condition, Phase, ProgressStatus, Status
from xdit_operator import clock
from xdit_operator.decide import Decision, Turn
from xdit_operator.decide.running import waiting_reason
from xdit_operator.observe import Snapshot
from xdit_operator.text import cut

TYPES = ("Ready", "Reconciling", "Stalled", "Complete", "Failed", "Suspended")
Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class State:
    """What the conditions say, in one word and one sentence."""

    ready: Truth
    reason: str
    message: str
    holds: tuple[str, ...]
    """Conditions that are True besides Ready."""


def phase(d: Decision) -> Phase:
    """One word, derived: the most advanced replica speaks for the job."""
    if d.outcome is not None:
        return "Complete" if d.outcome.complete else "Failed"
    if d.suspended:
        return "Suspended"
    found = {turn.phase for turn in d.turns}
    order: tuple[Phase, ...] = ("Running", "Starting", "Restarting")
    return next((each for each in order if each in found), "Pending")


def build(s: Snapshot, d: Decision, counted: ProgressStatus | None) -> list[Condition]:
    """All six."""
    return write(state(s, d, counted), s.status, s.resource.generation, s.now)


def write(state: State, old: Status, generation: int, now: datetime) -> list[Condition]:
    """A state as conditions; a transition time changes only with its status."""
    before = {c.type: c for c in old.conditions}
    out = []
    for kind in TYPES:
        status: Truth = state.ready if kind == "Ready" else "True" if kind in state.holds else "False"
        known = before.get(kind)
        kept = known is not None and known.status == status
        out.append(
            Condition(
                type=kind,
                status=status,
                observed_generation=generation,
                last_transition_time=known.last_transition_time if known is not None and kept else clock.write(now),
                reason=state.reason,
                # said once: what does not hold has nothing to explain
                message=cut(state.message, MESSAGE_LIMIT) if kind == "Ready" or status == "True" else "",
            )
        )
    return out


def state(s: Snapshot, d: Decision, counted: ProgressStatus | None) -> State:
    """The row of the table."""
    if d.outcome is not None:
        if d.outcome.complete:
            return State("True", d.outcome.reason, d.outcome.message, ("Complete",))
        return State("False", d.outcome.reason, d.outcome.message, ("Stalled", "Failed"))
    if d.suspended:
        done = f" after {counted.summary} images" if counted is not None else ""
        return State("False", "Suspended", f"spec.suspend is true{done}; no pods are wanted", ("Suspended",))
    if s.problem is not None:
        if s.problem.waiting:
            return State("Unknown", s.problem.reason, s.problem.message, ("Reconciling",))
        return State("False", s.problem.reason, s.problem.message, ("Stalled",))
    return State("Unknown", *_going_on(s, d), ("Reconciling",))


def _going_on(s: Snapshot, d: Decision) -> tuple[str, str]:
    word = phase(d)
    if word == "Running":
        generating = [t for t in d.turns if t.phase == "Running"]
        others = "; ".join(_tell(t) for t in d.turns if t.message)
        text = f"{len(generating)} of {len(d.turns)} replicas are generating"
        return "Generating", f"{text}; {others}" if others else text
    for turn in d.turns:
        group = s.group(turn.index)
        waiting = waiting_reason(s, group) if group is not None and turn.up else None
        if waiting is not None:
            return waiting
    if word == "Restarting":
        return "Restarting", "; ".join(_tell(t) + _left(s, t) for t in d.turns if t.phase == "Restarting")
    if word == "Starting":
        pods = sum(pod.ready for group in s.groups for pod in group.pods)
        wanted = sum(t.up for t in d.turns) * (s.plan.pods if s.plan is not None else 1)
        return "Starting", f"{pods} of {wanted} pods are ready; the model is loaded next"
    return "Pending", next((t.message for t in d.turns if t.message), "nothing runs yet")


def _left(s: Snapshot, turn: Turn) -> str:
    group = s.group(turn.index)
    left = [pod.name for pod in group.pods] if group is not None else []
    return f"; first {', '.join(left[:4])} must be gone" if left else ""


def _tell(turn: Turn) -> str:
    when = f" at {clock.write(turn.next_restart)}" if turn.next_restart is not None else ""
    head = f"replica {turn.index} starts attempt {turn.attempt}{when}" if turn.phase == "Restarting" else f"replica {turn.index}"
    return f"{head}: {turn.message}" if turn.message else head
