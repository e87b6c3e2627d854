"""Attempts of a replica's group.

Three steps, each repeated until it holds: (1) status says the next attempt and when; (2) the StatefulSet goes to 0;
(3) when no pod is left and the time has come, the template of the new attempt together with the replicas.
A crash between any two is resumed from status and the attempt label.
"""

from datetime import timedelta

from xdit_api.status import ReplicaStatus
from xdit_operator import clock
from xdit_operator.decide import running
from xdit_operator.decide.types import Failure, Turn
from xdit_operator.observe import Group, Snapshot

FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(minutes=5)
PRODUCTIVE = timedelta(minutes=10)
"""An attempt that made progress for this long starts the backoff anew."""


def remembered(s: Snapshot, index: int) -> ReplicaStatus:
    """What status says of a replica."""
    return next((r for r in s.status.replicas if r.index == index), ReplicaStatus(index=index, phase="Pending"))


def attempt(s: Snapshot, index: int) -> int:
    """The newest number known: a lost status never uses one twice."""
    group = s.group(index)
    return max(remembered(s, index).attempt, group.attempt if group is not None else 0)


def turn(s: Snapshot, index: int, failure: Failure | None) -> Turn:
    """One replica of a job that goes on. failure: what ended the present attempt."""
    old, group, number = remembered(s, index), s.group(index), attempt(s, index)
    if failure is not None:
        when = s.now + delay(old)
        message = f"after {failure.describe()}"
        return Turn(index, number + 1, False, "Restarting", old.restarts + 1, when, message)
    if group is not None and group.deleting:
        return Turn(index, number, False, "Pending", old.restarts, None, f"StatefulSet {group.name} is being deleted")
    if group is not None and group.up and group.attempt == number:
        phase, message = running.state(s, group, old)
        return Turn(index, number, True, phase, old.restarts, None, message)
    if old.phase == "Idle":
        return Turn(index, number, False, "Idle", old.restarts, None, old.message)
    return _start(s, index, old, group, number)


def _start(s: Snapshot, index: int, old: ReplicaStatus, group: Group | None, number: int) -> Turn:
    """Pods are wanted but there is no group that has them: start it, unless something must come first."""
    next_restart = clock.read(old.next_restart_time)
    old_pods = group is not None and bool(group.pods) and (group.attempt < number or group.up)
    if old_pods or (next_restart is not None and s.now < next_restart):
        return Turn(index, number, False, "Restarting", old.restarts, next_restart, old.message)
    if s.problem is not None:
        phase = "Restarting" if next_restart is not None else "Pending"
        return Turn(index, number, False, phase, old.restarts, next_restart, old.message if next_restart else "")
    return Turn(index, number, True, "Starting", old.restarts, None, "")


def delay(old: ReplicaStatus) -> timedelta:
    """10 s, doubled with each restart up to 5 min; 10 s again after an attempt that made progress for 10 min."""
    started, progressed = clock.read(old.starting_since), clock.read(old.last_progress_time)
    if started is not None and progressed is not None and progressed - started >= PRODUCTIVE:
        return FIRST_DELAY
    return min(FIRST_DELAY * (1 << min(old.restarts, 10)), LONGEST_DELAY)
