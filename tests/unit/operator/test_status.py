"""(Snapshot, decision) -> status: the table of conditions, numbers that never go back, nothing that moves by itself."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.operator.world import at, condition, failed, group, pod, poll, remembered, result, snapshot, spec, text
from tests.unit.operator.world import end as ended
from xdit_api.report import Counts
from xdit_api.spec import Spec
from xdit_api.status import FirstFailure, ProgressStatus, Status
from xdit_operator import status
from xdit_operator.decide import decide
from xdit_operator.observe import Snapshot
from xdit_operator.problem import Problem
from xdit_operator.status import conditions
from xdit_operator.status.refused import invalid_spec


def built(s: Snapshot) -> Status:
    return status.build(s, decide(s))


def row(s: Status) -> tuple[str, ...]:
    """Ready, its reason, and which others are True."""
    by = {c.type: c for c in s.conditions}
    assert set(by) == set(conditions.TYPES)
    return (by["Ready"].status, by["Ready"].reason, *(t for t in conditions.TYPES[1:] if by[t].status == "True"))


DONE = ended(0, result("drained", counts=Counts(total=3, completed=3)))
TABLE = [
    (snapshot(), "Starting", ("Unknown", "Starting", "Reconciling")),
    (snapshot(problem=Problem("MissingPVC", "x")), "Pending", ("False", "MissingPVC", "Stalled")),
    (
        snapshot(problem=Problem("WaitingForCleanup", "x", waiting=True)),
        "Pending",
        ("Unknown", "WaitingForCleanup", "Reconciling"),
    ),
    (snapshot(problem=Problem("InvalidPlan", "x")), "Pending", ("False", "InvalidPlan", "Stalled")),
    (snapshot(group(0, pod()), polls={0: poll()}), "Running", ("Unknown", "Generating", "Reconciling")),
    (snapshot(group(0, pod(ended=failed(1)))), "Restarting", ("Unknown", "Restarting", "Reconciling")),
    (snapshot(of=spec(suspend=True)), "Suspended", ("False", "Suspended", "Suspended")),
    (snapshot(group(0, pod(ended=DONE))), "Complete", ("True", "AllImagesWritten", "Complete")),
    (snapshot(group(0, pod(ended=failed(66, "InvalidModel")))), "Failed", ("False", "InvalidModel", "Stalled", "Failed")),
    (
        snapshot(group(0, pod(ready=False, node="", waiting=("Unschedulable", "0/3 nodes: 3 Insufficient nvidia.com/gpu")))),
        "Starting",
        ("Unknown", "WaitingForGPUs", "Reconciling"),
    ),
    (
        snapshot(group(0, pod(ready=False, node="", waiting=("Unschedulable", "0/3 nodes: no claim")))),
        "Starting",
        ("Unknown", "Unschedulable", "Reconciling"),
    ),
    (
        snapshot(group(0, pod(ready=False, waiting=("CreateContainerConfigError", 'secret "x" not found')))),
        "Starting",
        ("Unknown", "CreateContainerConfigError", "Reconciling"),
    ),
    (snapshot(group(0), create_failures={0: "exceeded quota: q"}), "Starting", ("Unknown", "QuotaExceeded", "Reconciling")),
    (snapshot(group(0), create_failures={0: "violates PodSecurity"}), "Starting", ("Unknown", "FailedCreate", "Reconciling")),
]


@pytest.mark.parametrize(("s", "phase", "expected"), TABLE, ids=[f"{p}-{e[1]}" for _, p, e in TABLE])
def test_table_of_conditions(s: Snapshot, phase: str, expected: tuple[str, ...]) -> None:
    made = built(s)
    assert made.phase == phase
    assert row(made) == expected
    assert not {"Reconciling", "Stalled"} <= set(row(made)), "kstatus would wait for ever"
    assert made.observed_generation == 3
    assert all(c.observed_generation == 3 for c in made.conditions)
    assert (made.completion_time is not None) == (phase in ("Complete", "Failed"))


@pytest.mark.parametrize(("s", "phase", "expected"), TABLE, ids=[f"{p}-{e[1]}" for _, p, e in TABLE])
def test_the_same_world_writes_nothing_new(s: Snapshot, phase: str, expected: Any) -> None:
    """What was written is read back, and an hour later nothing has changed but the clock."""
    first = built(s)
    if phase == "Restarting":
        return
    stored = Status.model_validate(status.compact(first.dump()))
    assert stored == first
    for seconds in (0, 3600):
        again = snapshot(
            *s.groups, of=s.spec, status=stored, problem=s.problem, polls=dict(s.polls), total=s.total,
            create_failures=dict(s.create_failures), seconds=seconds,
        )  # fmt: skip
        assert built(again) == first


def test_a_transition_time_moves_only_with_its_status() -> None:
    before = Status(conditions=[condition("Ready", "Unknown", "Old"), condition("Stalled", "True", "Old")])
    by = {c.type: c for c in built(snapshot(status=before)).conditions}
    assert by["Ready"].last_transition_time == text(-100)
    assert by["Ready"].reason == "Starting"
    assert by["Stalled"].last_transition_time == text(0)


def progress(before: ProgressStatus | None = None, total: int | None = None, **counts: int) -> ProgressStatus:
    polls = {0: poll(**counts)} if counts else {}
    made = built(snapshot(group(0, pod()), status=Status(progress=before), polls=polls, total=total)).progress
    assert made is not None
    return made


def test_shown_progress() -> None:
    made = progress(total=10, completed=4, skipped=1)
    assert (made.summary, made.total, made.skipped) == ("4/10", 10, 1)
    assert (made.seconds_per_image, made.images_per_hour, made.eta_seconds, made.eta) == ("2.00", 1800, 12, "12s")


def test_shown_progress_never_goes_back() -> None:
    before = ProgressStatus(total=10, completed=7, skipped=2, summary="7/10", seconds_per_image="9.00")
    made = progress(before, completed=4, total=10)
    assert (made.completed, made.skipped, made.summary, made.total) == (7, 2, "7/10", 10)
    assert made.seconds_per_image == "2.00"
    silent = built(snapshot(group(0, pod()), status=Status(progress=before)))
    assert silent.progress is not None
    assert silent.progress.summary == "7/10"


def test_progress_of_a_known_prompt_file_is_shown_before_the_first_image() -> None:
    made = built(snapshot(total=60)).progress
    assert made is not None
    assert (made.summary, made.eta) == ("0/60", None)
    assert built(snapshot()).progress is None


def test_two_replicas_add_up_their_speed_and_an_idle_one_does_not_count() -> None:
    of = spec(gpus=1, replicas=2)
    both = snapshot(group(0, pod()), group(1, pod(replica=1)), of=of, polls={0: poll(total=9), 1: poll(total=9)})
    assert built(both).progress.seconds_per_image == "1.00"  # type: ignore[union-attr]
    idle = Status(replicas=[remembered(1, "Idle")])
    one = snapshot(group(0, pod()), group(1, wanted=0), of=of, status=idle, polls={0: poll(total=9), 1: poll(total=9)})
    assert built(one).progress.seconds_per_image == "2.00"  # type: ignore[union-attr]


def test_complete_shows_the_last_count_and_no_eta() -> None:
    before = ProgressStatus(
        total=3, completed=1, summary="1/3", seconds_per_image="2.00", eta="4s", eta_seconds=4, images_per_hour=9
    )
    made = built(snapshot(group(0, pod(ended=DONE)), status=Status(progress=before))).progress
    assert made is not None
    assert (made.summary, made.seconds_per_image, made.eta, made.eta_seconds) == ("3/3", "2.00", None, None)


@pytest.mark.parametrize(
    ("pods", "held"),
    [
        ([pod(0), pod(1)], 4), ([pod(0), pod(1, node="")], 2), ([pod(0, phase="Failed"), pod(1, deleting=True)], 2), ([], 0),
    ],
)  # fmt: skip
def test_gpus_are_those_of_pods_on_nodes(pods: Any, held: int) -> None:
    of = spec(gpus=4, gpusPerPod=2)
    assert built(snapshot(group(0, *pods, wanted=2), of=of)).gpus == held


def test_active_time_stands_still_while_nothing_is_wanted() -> None:
    def after(of: Spec, before: Status, **more: Any) -> tuple[int, str | None]:
        made = built(snapshot(group(0, pod()), of=of, status=before, **more))
        return made.active_seconds, made.active_since

    plain, paused = spec(gpus=1), spec(gpus=1, suspend=True)
    assert after(plain, Status()) == (0, text(0))
    assert after(plain, Status(active_since=text(-30))) == (0, text(-30))
    assert after(paused, Status(active_seconds=5, active_since=text(-30))) == (35, None)
    assert after(paused, Status(active_seconds=35)) == (35, None)
    assert after(plain, Status(active_seconds=35)) == (35, text(0))


def test_replica_remembers_its_pods_and_forgets_those_of_an_older_attempt() -> None:
    before = Status(replicas=[remembered(0, "Starting", attempt=1, starting_since=text(-50), completed=4)])
    now = snapshot(group(0, pod(attempt=1, uid="new"), pod(1, attempt=0, uid="old"), attempt=1), status=before)
    replica = built(now).replicas[0]
    assert (replica.pod_uids, replica.nodes, replica.ready_pods) == (["new"], ["node-0"], 1)
    assert (replica.starting_since, replica.completed) == (text(-50), 4)
    next_one = built(snapshot(group(0, pod(attempt=1, ended=failed(1)), attempt=1), status=before)).replicas[0]
    assert (next_one.attempt, next_one.completed, next_one.starting_since) == (2, 0, None)
    assert next_one.next_restart_time == text(10)


def test_first_failure_is_kept() -> None:
    made = built(snapshot(group(0, pod(ended=failed(80, "CudaError", "x" * 5000)))))
    assert made.first_failure is not None
    assert (made.first_failure.reason, made.first_failure.exit_code, made.first_failure.node) == ("CudaError", 80, "node-0")
    assert len(made.first_failure.message.encode()) <= 1024
    first = FirstFailure(replica=1, pod="p", exit_code=1, reason="Old", message="m", time=text(-9))
    later = built(snapshot(group(0, pod(ended=failed(80, "CudaError"))), status=Status(first_failure=first)))
    assert later.first_failure == first


def test_messages_are_bounded_in_bytes() -> None:
    made = built(snapshot(problem=Problem("InvalidPrompts", "ü" * 3000)))
    assert all(len(c.message.encode()) <= 1024 for c in made.conditions)
    assert made.conditions[0].message.endswith("ü…")


def test_restart_tells_why_when_and_what_it_waits_for() -> None:
    first = built(snapshot(group(0, pod(ended=failed(80, "CudaError", "assert")))))
    assert first.conditions[0].message == (
        f"replica 0 starts attempt 1 at {text(10)}: after pod posters-0-0: CudaError: assert; first posters-0-0 must be gone"
    )


def test_quiet_leaves_out_what_is_written_every_ten_seconds() -> None:
    running = Status(replicas=[remembered(0, "Running", pod_uids=["pod-0-0-0"])])
    one = built(snapshot(group(0, pod()), polls={0: poll(total=9, completed=1)}, status=running))
    two = built(snapshot(group(0, pod()), polls={0: poll(total=9, completed=2)}, status=running))
    assert one != two
    assert status.quiet(one) == status.quiet(two)
    assert status.quiet(one) != status.quiet(built(snapshot(group(0, pod(ended=DONE)), status=running)))


def test_unreadable_spec_keeps_the_rest_of_the_status() -> None:
    with pytest.raises(ValidationError) as caught:
        Spec.model_validate({"gpus": 0})
    made = invalid_spec(Status(phase="Running", gpus=3), 7, caught.value, at(0))
    assert (made.phase, made.gpus, made.observed_generation) == ("Running", 3, 7)
    assert row(made) == ("False", "InvalidSpec", "Stalled")
    assert "spec.gpus: Input should be greater than or equal to 1" in made.conditions[0].message
