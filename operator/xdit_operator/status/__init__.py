"""(Snapshot, Decision) -> status. Pure: the same world gives the same status, so that a converged job writes nothing."""

from typing import Any

from xdit_api.base import Json
from xdit_api.status import FirstFailure, PlanStatus, ReplicaStatus, Status
from xdit_operator import clock
from xdit_operator.decide import Decision, Turn, restart
from xdit_operator.decide.limits import active_seconds
from xdit_operator.observe import Snapshot
from xdit_operator.plan import Plan, largest_divisor
from xdit_operator.status import conditions, progress
from xdit_operator.text import cut

__all__ = ["build", "compact", "conditions", "quiet"]


def build(s: Snapshot, d: Decision) -> Status:
    """The whole status after a decision."""
    old = s.status
    phase = conditions.phase(d)
    now = clock.write(s.now)
    active = d.outcome is None and not d.suspended and any(t.up or t.phase == "Restarting" for t in d.turns)
    counted = progress.build(s, d, phase)
    return Status(
        observed_generation=s.resource.generation,
        phase=phase,
        conditions=conditions.build(s, d, counted),
        plan=plan_status(s.plan) if s.plan is not None else old.plan,
        progress=counted,
        replicas=[_replica(s, turn) for turn in d.turns],
        restarts=sum(turn.restarts for turn in d.turns),
        gpus=sum(pod.holds for group in s.groups for pod in group.pods) * _gpus_per_pod(s),
        active_seconds=old.active_seconds if active else active_seconds(s),
        active_since=(old.active_since or now) if active else None,
        first_failure=old.first_failure or _first_failure(d),
        start_time=old.start_time or (now if any(t.up for t in d.turns) else None),
        completion_time=(old.completion_time or now) if d.outcome is not None else None,
    )


def quiet(status: Status) -> Status:
    """The status without what may be written only every 10 s."""
    replicas = [r.model_copy(update={"completed": 0, "last_progress_time": None}) for r in status.replicas]
    return status.model_copy(update={"progress": None, "replicas": replicas})


def compact(value: Json) -> Json:
    """JSON without empty texts and lists: absent means the same and reads better."""
    return {key: _compact(item) for key, item in value.items() if item not in ("", [])}


def _compact(value: Any) -> Any:  # noqa: ANN401  any JSON value
    if isinstance(value, dict):
        return compact(value)
    return [_compact(item) for item in value] if isinstance(value, list) else value


def plan_status(plan: Plan) -> PlanStatus:
    """What the planner chose, as users see it."""
    return PlanStatus(
        summary=plan.summary,
        data=plan.degrees.lanes,
        cfg=plan.degrees.cfg,
        ulysses=plan.degrees.ulysses,
        ring=plan.degrees.ring,
        pipefusion=plan.degrees.pipefusion,
        gpus_per_pod=plan.gpus_per_pod,
        pods_per_replica=plan.pods,
        output_path=plan.volume_path,
        shm_size=plan.shm_size,
        reasons=list(plan.reasons),
    )


def _gpus_per_pod(s: Snapshot) -> int:
    return s.plan.gpus_per_pod if s.plan is not None else s.spec.gpus_per_pod or largest_divisor(s.spec.gpus, 8)


def _replica(s: Snapshot, turn: Turn) -> ReplicaStatus:
    old, group = restart.remembered(s, turn.index), s.group(turn.index)
    same = old.attempt == turn.attempt
    pods = [p for p in group.pods if p.attempt == turn.attempt] if group is not None else []
    poll = s.polls.get(turn.index)
    answer = poll.progress if poll is not None and poll.attempt == turn.attempt else None
    made = sum(lane.completed for lane in answer.lanes) if answer is not None else 0
    started = (old.starting_since if same else None) or clock.write(s.now)
    return ReplicaStatus(
        index=turn.index,
        phase=turn.phase,
        attempt=turn.attempt,
        restarts=turn.restarts,
        ready_pods=sum(pod.ready for pod in pods),
        pod_uids=[pod.uid for pod in pods],
        nodes=list(dict.fromkeys(pod.node for pod in pods if pod.node))[:16],
        completed=max(made, old.completed if same else 0),
        message=cut(turn.message, 512),
        starting_since=started if turn.up else None,
        last_progress_time=(answer.last_progress_time if answer is not None else None)
        or (old.last_progress_time if same else None),
        next_restart_time=clock.write(turn.next_restart) if turn.next_restart is not None else None,
    )


def _first_failure(d: Decision) -> FirstFailure | None:
    failure = d.failure
    if failure is None:
        return None
    return FirstFailure(
        replica=failure.replica,
        pod=failure.pod,
        node=failure.node,
        rank=failure.rank,
        exit_code=failure.exit_code,
        reason=cut(failure.reason, 128),
        message=cut(failure.message, 1024),
        log_path=cut(failure.log_path, 512),
        time=clock.write(failure.time),
    )
