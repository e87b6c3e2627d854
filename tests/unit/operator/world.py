"""Values for tables: specs, pods, groups and snapshots with everything a test does not care about filled in."""

from datetime import UTC, datetime, timedelta
from typing import Any

from xdit_api.report import Counts, LaneProgress, Progress, Result
from xdit_api.spec import Spec
from xdit_api.status import Condition, ReplicaStatus, Status
from xdit_operator import plan
from xdit_operator.observe import End, Group, Pod, Poll, Resource, Snapshot
from xdit_operator.plan import Plan
from xdit_operator.problem import Problem
from xdit_operator.render import Source
from xdit_operator.settings import Settings

UID = "11111111-aaaa"
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
SETTINGS = Settings(worker_image="registry/runtime:1")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def text(seconds: float) -> str:
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def spec(**changes: Any) -> Spec:
    base: dict[str, Any] = {
        "model": {"id": "black-forest-labs/FLUX.1-dev", "source": {"pvc": {"claimName": "models", "path": "flux"}}},
        "gpus": 4,
        "prompts": {"inline": [{"id": "cat", "prompt": "a cat"}]},
        "output": {"claimName": "pictures"},
    }
    return Spec.model_validate({**base, **changes})


def planned(of: Spec) -> Plan:
    made = plan.make(of, "posters", [])
    assert isinstance(made, Plan), made
    return made


def source(of: Spec | None = None) -> Source:
    of = of or spec()
    return Source("studio", "posters", UID, of, planned(of), SETTINGS)


def result(outcome: Any = "drained", code: int = 0, reason: str = "Ok", message: str = "", **more: Any) -> Result:
    return Result(outcome=outcome, exit_code=code, reason=reason, message=message, job_uid=UID, time=text(-5), **more)


def end(code: int = 0, said: Result | None = None, *, seconds: float = -5, reason: str = "Error", message: str = "") -> End:
    return End(code, reason, message, at(seconds), said)


def failed(code: int = 1, reason: str = "WorkerFailed", message: str = "boom", seconds: float = -5) -> End:
    return end(code, result("failed", code, reason, message), seconds=seconds)


def pod(ordinal: int = 0, *, replica: int = 0, attempt: int = 0, ended: End | None = None, **more: Any) -> Pod:
    values: dict[str, Any] = {
        "name": f"posters-{replica}-{ordinal}", "uid": f"pod-{replica}-{ordinal}-{attempt}", "ordinal": ordinal,
        "attempt": attempt, "node": f"node-{ordinal}", "ip": "10.0.0.1", "phase": "Running", "ready": True, "deleting": False,
        "end": ended,
    }  # fmt: skip
    return Pod(**{**values, **more})


def group(replica: int = 0, *pods: Pod, attempt: int = 0, wanted: int = 1, deleting: bool = False, live: Any = None) -> Group:
    return Group(replica, f"posters-{replica}", f"set-{replica}", attempt, wanted, deleting, pods, live or {})


def remembered(index: int = 0, phase: str = "Running", **more: Any) -> ReplicaStatus:
    return ReplicaStatus(index=index, phase=phase, **more)


def snapshot(
    *groups: Group,
    of: Spec | None = None,
    status: Status | None = None,
    problem: Problem | None = None,
    polls: dict[int, Poll] | None = None,
    total: int | None = None,
    create_failures: dict[int, str] | None = None,
    seconds: float = 0,
) -> Snapshot:
    of = of or spec(gpus=1)
    resource = Resource("studio", "posters", UID, 3, "100", of, status or Status())
    return Snapshot(
        resource, groups, None if problem and problem.reason == "InvalidPlan" else planned(of), problem, total, polls or {},
        create_failures or {}, at(seconds),
    )  # fmt: skip


def poll(attempt: int = 0, phase: Any = "Generating", made: int = 0, failures: int = 0, **counts: int) -> Poll:
    lane = LaneProgress(index=0, phase=phase, completed=made, seconds_per_image=2.0)
    said = Progress(
        job_uid=UID,
        replica=0,
        attempt=attempt,
        phase="Running",
        counts=Counts(**counts),
        lanes=[lane],
        last_progress_time=text(-1),
    )
    return Poll(attempt, said, failures)


def condition(kind: str, status: Any = "True", reason: str = "Because", message: str = "") -> Condition:
    return Condition(type=kind, status=status, last_transition_time=text(-100), reason=reason, message=message)
