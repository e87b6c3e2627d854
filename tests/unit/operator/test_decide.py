"""Snapshot -> decision, one table for each policy."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.world import at, condition, end, failed, group, pod, poll, remembered, result, snapshot, spec, text
from xdit_api.report import Counts
from xdit_api.status import ProgressStatus, Status
from xdit_operator.decide import Decision, Failure, decide, failure, restart
from xdit_operator.observe import Group, Poll, Snapshot
from xdit_operator.problem import Problem

MISSING = Problem("MissingPVC", "no claim", 15)
DRAINED = end(0, result("drained", counts=Counts(total=3, completed=3)))
IDLE = end(0, result("idle"))


def brief(d: Decision) -> list[tuple[int, int, bool, str]]:
    return [(t.index, t.attempt, t.up, t.phase) for t in d.turns]


# --- the way up ------------------------------------------------------------------------------------------------------


def test_new_job_starts_all_replicas_at_attempt_0() -> None:
    assert brief(decide(snapshot(of=spec(gpus=1, replicas=2)))) == [(0, 0, True, "Starting"), (1, 0, True, "Starting")]


def test_a_problem_keeps_pods_away_and_leaves_running_ones_alone() -> None:
    of = spec(gpus=1, replicas=2)
    assert brief(decide(snapshot(of=of, problem=MISSING))) == [(0, 0, False, "Pending"), (1, 0, False, "Pending")]
    running = decide(snapshot(group(0, pod()), of=of, problem=MISSING))
    assert brief(running) == [(0, 0, True, "Starting"), (1, 0, False, "Pending")]


@pytest.mark.parametrize(
    ("polled", "ready", "old", "phase"),
    [
        (None, True, "Starting", "Starting"),
        (poll(phase="Loading"), True, "Starting", "Starting"),
        (poll(phase="Generating"), True, "Starting", "Running"),
        (poll(phase="Generating"), False, "Starting", "Starting"),
        (poll(attempt=1, phase="Generating"), True, "Starting", "Starting"),
        (Poll(0, None, 2), True, "Starting", "Starting"),
        (Poll(0, None, 3), True, "Starting", "Running"),
        (None, True, "Running", "Running"),
        (poll(phase="Loading"), True, "Running", "Running"),
    ],
)  # fmt: skip
def test_starting_or_running(polled: Poll | None, ready: bool, old: str, phase: str) -> None:
    """A restarted operator, which has asked nobody yet, must not show a step back."""
    uids = ["pod-0-0-0"] if old == "Running" else []
    before = Status(replicas=[remembered(0, old, pod_uids=uids)])
    polls = {0: polled} if polled is not None else {}
    assert brief(decide(snapshot(group(0, pod(ready=ready)), status=before, polls=polls))) == [(0, 0, True, phase)]


def test_a_replaced_pod_is_starting_again() -> None:
    before = Status(replicas=[remembered(0, "Running", pod_uids=["another"])])
    assert brief(decide(snapshot(group(0, pod(ready=False)), status=before)))[0][3] == "Starting"


# --- the end ---------------------------------------------------------------------------------------------------------


def test_one_drained_leader_completes_the_job_and_stops_all() -> None:
    d = decide(snapshot(group(0, pod(ended=DRAINED)), group(1, pod(replica=1)), of=spec(gpus=1, replicas=2)))
    assert d.outcome is not None
    assert (d.outcome.complete, d.outcome.reason) == (True, "AllImagesWritten")
    assert d.outcome.message == "3 of 3 images are on claim pictures in posters"
    assert brief(d) == [(0, 0, False, "Drained"), (1, 0, False, "Stopped")]


def test_drained_beats_a_failure_elsewhere() -> None:
    d = decide(snapshot(group(0, pod(ended=DRAINED)), group(1, pod(replica=1, ended=failed(66))), of=spec(gpus=1, replicas=2)))
    assert d.outcome is not None
    assert d.outcome.complete


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_the_end_is_never_taken_back(kind: str) -> None:
    before = Status(conditions=[condition(kind, reason="Why", message="so")], replicas=[remembered(0, "Drained", restarts=2)])
    for now in (
        snapshot(status=before),
        snapshot(group(0, pod()), status=before),
        snapshot(status=before, of=spec(suspend=True)),
    ):
        d = decide(now)
        assert d.outcome is not None
        assert (d.outcome.complete, d.outcome.reason, d.outcome.message) == (kind == "Complete", "Why", "so")
        assert brief(d) == [(0, 0, False, "Drained")]
        assert d.turns[0].restarts == 2


@pytest.mark.parametrize(("code", "name"), [(64, "InvalidJob"), (66, "InvalidModel"), (79, "Odd")])
def test_permanent_exit_codes_fail_at_once(code: int, name: str) -> None:
    d = decide(snapshot(group(0, pod(ended=failed(code, name, "no model_index.json")))))
    assert d.outcome is not None
    assert (d.outcome.complete, d.outcome.reason) == (False, name)
    assert d.outcome.message == f"pod posters-0-0: {name}: no model_index.json"
    assert brief(d) == [(0, 0, False, "Failed")]
    assert d.failure is not None
    assert d.failure.exit_code == code


def test_failed_prompts_limit_counts_the_ledger() -> None:
    of, ended = spec(gpus=1, failedPromptsLimit=1), end(0, result("drained", counts=Counts(total=9, completed=7, failed=2)))
    for now in (
        snapshot(group(0, pod(ended=ended)), of=of),
        snapshot(group(0, pod()), of=of, polls={0: poll(failed=2)}),
        snapshot(group(0, pod()), of=of, status=Status(progress=ProgressStatus(total=9, completed=1, failed=2, summary="1/9"))),
    ):
        d = decide(now)
        assert d.outcome is not None
        assert d.outcome.reason == "FailedPromptsLimitExceeded"
    within = snapshot(group(0, pod(ended=ended)), of=spec(gpus=1, failedPromptsLimit=2))
    done = decide(within).outcome
    assert done is not None
    assert done.complete
    assert "2 prompts failed" in done.message


def test_deadline_counts_active_time_only() -> None:
    of = spec(gpus=1, activeDeadlineSeconds=100)
    early = snapshot(group(0, pod()), of=of, status=Status(active_seconds=60, active_since=text(-39)))
    assert decide(early).outcome is None
    assert at(1) in decide(early).wake
    late = snapshot(group(0, pod()), of=of, status=Status(active_seconds=60, active_since=text(-40)))
    over = decide(late).outcome
    assert over is not None
    assert over.reason == "DeadlineExceeded"
    paused = snapshot(of=spec(gpus=1, activeDeadlineSeconds=100, suspend=True), status=Status(active_seconds=99))
    assert decide(paused).outcome is None


# --- restarts --------------------------------------------------------------------------------------------------------


def test_a_failure_is_written_first_with_the_next_attempt_and_its_time() -> None:
    d = decide(snapshot(group(0, pod(ended=failed(1)))))
    assert brief(d) == [(0, 1, False, "Restarting")]
    assert (d.turns[0].restarts, d.turns[0].next_restart) == (1, at(10))
    assert d.turns[0].message == "after pod posters-0-0: WorkerFailed: boom"
    assert at(10) in d.wake


@pytest.mark.parametrize(
    ("groups", "seconds", "expected"),
    [
        # status was written, the operator died before anything else
        ([group(0, pod(ended=failed(1)))], 0, (0, 1, False, "Restarting")),
        # scaled to 0, pods are still ending
        ([group(0, pod(deleting=True), wanted=0)], 20, (0, 1, False, "Restarting")),
        # no pods, but too early
        ([group(0, wanted=0)], 9, (0, 1, False, "Restarting")),
        # the time has come
        ([group(0, wanted=0)], 10, (0, 1, True, "Starting")),
        # somebody deleted the StatefulSet meanwhile
        ([], 9, (0, 1, False, "Restarting")),
        ([], 10, (0, 1, True, "Starting")),
        # the new attempt is up
        ([group(0, pod(attempt=1), attempt=1)], 11, (0, 1, True, "Starting")),
    ],
)  # fmt: skip
def test_a_restart_goes_on_from_any_point(groups: list[Group], seconds: float, expected: Any) -> None:
    before = Status(replicas=[remembered(0, "Restarting", attempt=1, restarts=1, next_restart_time=text(10))])
    d = decide(snapshot(*groups, status=before, seconds=seconds))
    assert brief(d) == [expected]
    assert d.turns[0].restarts == 1


def test_a_lost_status_uses_no_attempt_twice() -> None:
    d = decide(snapshot(group(0, pod(attempt=4, ended=failed(1)), attempt=4)))
    assert d.turns[0].attempt == 5


def test_budget() -> None:
    before = Status(replicas=[remembered(0, restarts=2)])
    spent = decide(snapshot(group(0, pod(ended=failed(1))), of=spec(gpus=1, backoffLimit=2), status=before))
    assert spent.outcome is not None
    assert spent.outcome.reason == "BackoffLimitExceeded"
    assert "replica 0 was restarted 2 times (backoffLimit 2)" in spent.outcome.message
    assert "WorkerFailed: boom" in spent.outcome.message
    more = decide(snapshot(group(0, pod(ended=failed(1))), of=spec(gpus=1, backoffLimit=3), status=before))
    assert more.outcome is None


def test_one_replica_restarts_and_the_others_go_on() -> None:
    now = snapshot(group(0, pod(ended=failed(1))), group(1, pod(replica=1)), of=spec(gpus=1, replicas=2), polls={1: poll()})
    assert brief(decide(now)) == [(0, 1, False, "Restarting"), (1, 0, True, "Running")]


@given(restarts=st.integers(0, 1000))
def test_backoff_doubles_and_is_bounded(restarts: int) -> None:
    delay = restart.delay(remembered(0, restarts=restarts))
    assert delay == min(timedelta(seconds=10 * 2 ** min(restarts, 20)), timedelta(minutes=5))


def test_backoff_starts_anew_after_ten_minutes_of_progress() -> None:
    long = remembered(0, restarts=5, starting_since=text(-700), last_progress_time=text(-100))
    assert restart.delay(long) == timedelta(seconds=10)
    short = remembered(0, restarts=5, starting_since=text(-700), last_progress_time=text(-101))
    assert restart.delay(short) > timedelta(seconds=10)


# --- the cause -------------------------------------------------------------------------------------------------------

PEER_LOST = failed(20, "PeerLost", seconds=-9)


def cause(*pods: Any, seconds: float = 0) -> Any:
    return failure.cause(group(0, *pods, wanted=len(pods)), at(seconds))


def test_echoes_never_hide_the_cause() -> None:
    cuda, oom = failed(80, "CudaError", seconds=-1), end(137, None, reason="OOMKilled", seconds=-2)
    for first, expected in ((cuda, "CudaError"), (oom, "OutOfMemory"), (failed(1, seconds=-1), "WorkerFailed")):
        found = cause(pod(0, ended=PEER_LOST), pod(1, ended=first))
        assert isinstance(found, Failure)
        assert (found.reason, found.pod) == (expected, "posters-0-1")
    both = cause(pod(0, ended=oom), pod(1, ended=cuda))
    assert both.reason == "CudaError"
    earliest = cause(pod(0, ended=failed(1, message="b", seconds=-1)), pod(1, ended=failed(1, message="a", seconds=-2)))
    assert earliest.message == "a"


def test_the_cause_waits_for_the_others_up_to_ten_seconds() -> None:
    pods = (pod(0, ended=PEER_LOST), pod(1))
    assert cause(*pods) == at(1)
    assert isinstance(cause(*pods, seconds=1), Failure)
    assert isinstance(cause(pod(0, ended=failed(66)), pod(1)), Failure)
    d = decide(snapshot(group(0, *pods, wanted=2), of=spec(gpus=2, gpusPerPod=1)))
    assert brief(d) == [(0, 0, True, "Starting")]
    assert d.wake == (at(1),)


@pytest.mark.parametrize(
    "innocent",
    [
        pod(ended=IDLE), pod(ended=DRAINED), pod(), pod(ended=failed(1), deleting=True), pod(ended=failed(1), phase="Failed"),
        pod(ended=failed(1), attempt=7),
    ],
)  # fmt: skip
def test_what_is_no_failure(innocent: Any) -> None:
    assert cause(innocent) is None


def test_an_end_without_a_report_is_told_in_the_kubelets_words() -> None:
    killed = cause(pod(ended=end(137, None, reason="Error", message="Traceback: x\n")))
    assert (killed.reason, killed.message, killed.exit_code) == ("WorkerFailed", "Traceback: x", 137)
    silent = cause(pod(ended=end(0, None, reason="Completed")))
    assert silent.reason == "NoResult"
    assert "wrote no report" in silent.message


def test_nothing_that_ends_after_pods_were_unwanted_is_a_failure() -> None:
    stopping = group(0, pod(ended=failed(1)), wanted=0)
    assert decide(snapshot(stopping, of=spec(gpus=1, suspend=True))).failure is None
    resumed = decide(snapshot(stopping))
    assert resumed.failure is None
    assert brief(resumed) == [(0, 0, True, "Starting")]


# --- idle, suspend, elastic ------------------------------------------------------------------------------------------

TWO = spec(gpus=1, replicas=2)


def test_an_idle_replica_goes_down_alone_and_is_not_forgotten() -> None:
    now = snapshot(group(0, pod()), group(1, pod(replica=1, ended=IDLE)), of=TWO, polls={0: poll()})
    assert brief(decide(now)) == [(0, 0, True, "Running"), (1, 0, False, "Idle")]
    later = snapshot(group(0, pod()), group(1, wanted=0), of=TWO, status=Status(replicas=[remembered(1, "Idle")]))
    assert brief(decide(later)) == [(0, 0, True, "Starting"), (1, 0, False, "Idle")]


def test_if_all_are_idle_replica_0_looks_again_free_of_charge() -> None:
    before = Status(replicas=[remembered(0, "Running", restarts=1), remembered(1, "Idle")])
    now = snapshot(group(0, pod(ended=IDLE)), group(1, wanted=0), of=TWO, status=before)
    d = decide(now)
    assert brief(d) == [(0, 1, False, "Restarting"), (1, 0, False, "Idle")]
    assert (d.turns[0].restarts, d.turns[0].next_restart) == (1, at(10))


def test_suspend_keeps_attempts_restarts_and_who_is_idle() -> None:
    of = spec(gpus=1, replicas=2, suspend=True)
    before = Status(replicas=[remembered(0, attempt=3, restarts=2), remembered(1, "Idle")])
    d = decide(snapshot(group(0, pod(attempt=3), attempt=3), of=of, status=before))
    assert d.suspended
    assert brief(d) == [(0, 3, False, "Stopped"), (1, 0, False, "Idle")]
    assert d.turns[0].restarts == 2


def test_fewer_replicas_leave_groups_over() -> None:
    d = decide(snapshot(group(0, pod()), group(1, pod(replica=1)), of=spec(gpus=1, replicas=1)))
    assert [t.index for t in d.turns] == [0]
    assert d.leftover == (1,)


def test_a_group_that_is_being_deleted_is_waited_for() -> None:
    assert brief(decide(snapshot(group(0, pod(), deleting=True)))) == [(0, 0, False, "Pending")]


# --- properties ------------------------------------------------------------------------------------------------------

ENDS = st.sampled_from([None, DRAINED, IDLE, failed(1), failed(66), failed(80), failed(20, "PeerLost"), end(137, None)])
PHASES = st.sampled_from(["Pending", "Starting", "Running", "Idle", "Restarting", "Drained", "Failed", "Stopped"])


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    replicas = draw(st.integers(1, 3))
    groups, memories = [], []
    for index in range(replicas):
        attempt = draw(st.integers(0, 2))
        if draw(st.booleans()):
            pods = (
                [pod(replica=index, attempt=attempt, ended=draw(ENDS), deleting=draw(st.booleans()))]
                if draw(st.booleans())
                else []
            )
            groups.append(group(index, *pods, attempt=attempt, wanted=draw(st.integers(0, 1))))
        if draw(st.booleans()):
            memories.append(remembered(index, draw(PHASES), attempt=draw(st.integers(0, 2)), restarts=draw(st.integers(0, 4))))
    of = spec(gpus=1, replicas=replicas, suspend=draw(st.booleans()))
    terminal = draw(st.sampled_from([[], [condition("Complete")], [condition("Failed")]]))
    problem = draw(st.sampled_from([None, MISSING]))
    return snapshot(*groups, of=of, status=Status(replicas=memories, conditions=terminal), problem=problem)


@given(worlds())
def test_whatever_the_world_looks_like(s: Snapshot) -> None:
    d = decide(s)
    assert d == decide(s)
    if d.outcome is not None or d.suspended:
        assert not any(turn.up for turn in d.turns), "GPUs are held by a job that does not run"
    for turn in d.turns:
        group_now, old = s.group(turn.index), restart.remembered(s, turn.index)
        assert turn.attempt >= max(old.attempt, group_now.attempt if group_now else 0), "an attempt number went back"
        assert turn.attempt <= max(old.attempt, group_now.attempt if group_now else 0) + 1
        assert turn.restarts - old.restarts in (0, 1)
        if turn.up and group_now is not None and group_now.attempt < turn.attempt:
            assert not group_now.pods, "pods of two attempts at once"
        if s.problem is not None and turn.up:
            assert group_now is not None
            assert group_now.up, "pods were started in spite of a problem"
