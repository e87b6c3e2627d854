"""The supervisor as a process: what it does to its ranks, what it reports, what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runtime.jobs import UID, make_job
from tests.unit.runtime.pod import Pod, pods_below
from xdit_api.job import Job
from xdit_api.report import Counts, Exit, Progress
from xdit_runtime import handshake, network, processes
from xdit_runtime.handshake import RankFailure
from xdit_runtime.paths import Layout


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    """Makes pods; at the end nothing of them may run."""
    yield from pods_below(tmp_path)


def images(job: Job) -> int:
    folder = Layout.of(job).images
    return len(list(folder.iterdir())) if folder.exists() else 0


def two_ranks(tmp_path: Path, prompts: Any = 4, **changes: Any) -> Job:
    return make_job(tmp_path, prompts, gpus=2, gpusPerPod=2, degrees={"ulysses": 2}, **changes)


def two_pods(tmp_path: Path, prompts: Any = 4, **changes: Any) -> Job:
    return make_job(tmp_path, prompts, gpus=2, gpusPerPod=1, degrees={"ulysses": 2}, **changes)


def test_a_job_is_drained_and_the_next_attempt_finds_it_done_at_once(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_ranks(tmp_path, [{"id": "a", "prompt": "x", "images": 2}, {"id": "b", "prompt": "y"}])
    pod = pods(job)
    assert pod.wait() == 0, pod.text
    assert pod.result.outcome == "drained"
    assert pod.result.counts == Counts(total=3, completed=3)
    assert (pod.result.job_uid, pod.result.pod, pod.result.log_path) == (UID, "pod-0", "posters/.xdit/logs/0-0-pod-0.log")
    assert "hello from rank 1 of 2" in (Layout.of(job).logs / "0-0-pod-0.log").read_text()
    assert len(Layout.of(job).manifest.read_text().splitlines()) == 3
    assert Layout.of(job).index.is_file()

    again = pods(job, "pod-1", XDIT_ATTEMPT=1)
    assert again.wait() == 0
    assert (again.result.outcome, again.result.attempt, again.result.counts) == ("drained", 1, Counts(total=3, completed=3))
    assert "hello from rank" not in again.text


def test_bad_prompts_are_refused_with_every_line_and_within_what_the_kubelet_keeps(
    tmp_path: Path, pods: Callable[..., Pod]
) -> None:
    lines = [
        '{"id": "ok", "prompt": "x"}',
        "{",
        '{"id": "OK", "prompt": "y"}',
        '{"prompt": ""}',
        '{"prompt": "é"}',
        *["nope"] * 40,
    ]
    job = make_job(tmp_path, text="\n".join(lines))
    Path(job.prompts.path).write_bytes("\n".join(lines).encode().replace("é".encode(), b"\xe9"))
    pod = pods(job)
    assert pod.wait() == Exit.INVALID_PROMPTS
    result = pod.result
    assert (result.outcome, result.reason) == ("failed", "InvalidPrompts")
    for text in (
        "44 bad lines",
        "line 2: not JSON",
        "line 3: id 'OK' is used on line 1",
        "line 4: prompt is empty",
        "line 5: not UTF-8",
    ):
        assert text in result.message
    assert all(f"line {n}:" in pod.text for n in range(2, 46))
    assert not Layout.of(job).prompts.exists()


def test_a_killed_rank_ends_the_attempt_within_seconds_and_is_named(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_ranks(tmp_path, 500)
    pod = pods(job, XDIT_TEST="slow", XDIT_LANE_RESTARTS=0)
    pod.until(lambda: images(job) > 1)
    os.kill(pod.rank(1), signal.SIGKILL)
    began = time.monotonic()
    assert pod.wait() == Exit.WORKER_FAILED
    assert time.monotonic() - began < 5
    assert pod.result.message == "rank 1 was killed by signal 9 (SIGKILL)"
    assert pod.result.rank == 1


def test_a_failing_ranks_own_words_decide_the_result(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    pod = pods(two_ranks(tmp_path, 500), XDIT_TEST="crash@1", XDIT_LANE_RESTARTS=0)
    assert pod.wait() == Exit.CUDA_ERROR, pod.text
    assert (pod.result.rank, pod.result.outcome) == (1, "failed")
    assert pod.result.message == "a test broke the GPU"


def test_sigterm_stops_at_an_image_boundary_and_the_next_attempt_goes_on(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_ranks(tmp_path, 30)
    pod = pods(job, XDIT_TEST="slow")
    pod.until(lambda: images(job) > 2)
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait(10) == Exit.STOPPED
    assert (pod.result.outcome, pod.result.reason) == ("stopped", "Stopped")
    made = images(job)
    assert 2 < made < 30
    assert pod.result.counts is not None
    assert pod.result.counts.completed == made
    again = pods(job, "pod-1", XDIT_ATTEMPT=1)
    assert again.wait() == 0
    assert images(job) == 30
    journals = [line for path in Layout.of(job).journals.iterdir() for line in path.read_text().splitlines()]
    assert len(journals) == 30


def test_sigterm_while_ranks_load_waits_for_nothing(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    pod = pods(two_ranks(tmp_path), XDIT_TEST="load")
    pod.rank(0)
    began = time.monotonic()
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait(10) == Exit.STOPPED
    assert time.monotonic() - began < 8
    assert pod.result.message == "stopped while no image was in work"


def test_a_rank_that_reaches_no_boundary_is_killed_after_the_grace_period(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_ranks(tmp_path)
    pod = pods(job, XDIT_TEST="hang@0", XDIT_GRACE=1)
    pod.rank(1)
    pod.until(lambda: images(job) > 0)
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait(10) == Exit.STOPPED
    assert "no image boundary within 1 s" in pod.result.message
    assert len(Layout.of(job).manifest.read_text().splitlines()) == 1


def test_a_later_life_only_shows_the_first_ones_result(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_ranks(tmp_path, 500)
    first = pods(job, XDIT_TEST="crash", XDIT_LANE_RESTARTS=0)
    assert first.wait() == Exit.CUDA_ERROR
    written = first.result_path.read_bytes()
    first.output.unlink()
    second = pods(job)
    progress = Progress.model_validate_json(
        second.until(lambda: "waiting to be removed" in second.text) and second.get("/progress")
    )
    assert progress.phase == "Parked"
    assert progress.result is not None
    assert progress.result.exit_code == Exit.CUDA_ERROR
    assert second.result_path.read_bytes() == written
    assert len(processes.descendants(second.process.pid)) == 0
    began = time.monotonic()
    second.process.send_signal(signal.SIGTERM)
    assert second.wait(5) == 0
    assert time.monotonic() - began < 2
    assert second.result_path.read_bytes() == written


def test_a_first_life_that_was_killed_is_not_repeated(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_ranks(tmp_path, 500)
    first = pods(job, XDIT_TEST="slow")
    ranks = [first.rank(0), first.rank(1)]
    first.process.kill()
    first.process.wait(5)
    processes.send(ranks, signal.SIGKILL)  # a container's other processes end with PID 1
    first.output.unlink()
    second = pods(job)
    second.until(lambda: "killed before it could say why" in second.text)
    assert Progress.model_validate_json(second.get("/progress")).result is None
    second.process.send_signal(signal.SIGTERM)
    assert second.wait(5) == 0
    assert not second.result_path.exists()


def test_a_hang_is_found_its_stacks_are_logged_and_the_attempt_ends(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_ranks(tmp_path, 500, stallSeconds=4)
    pod = pods(job, XDIT_TEST="hang")
    assert pod.wait() == Exit.STALLED
    assert "no progress for 4 s (lane 0 was generating p0000)" in pod.result.message
    assert "stand_in.py" in pod.text
    assert "in act" in pod.text


def test_progress_and_metrics_tell_of_the_whole_job(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_ranks(tmp_path, 200)
    pod = pods(job, XDIT_TEST="slow")

    def moving() -> Progress | None:
        progress = Progress.model_validate_json(pod.get("/progress"))
        return progress if progress.counts.completed > 0 else None

    progress = pod.until(moving)
    assert (progress.phase, progress.job_uid, progress.counts.total) == ("Running", UID, 200)
    assert progress.lanes[0].phase == "Generating"
    assert progress.last_progress_time is not None
    metrics = pod.get("/metrics")
    assert 'xdit_images{state="total"} 200.0' in metrics
    assert 'xdit_worker_phase{phase="Running"} 1.0' in metrics
    assert pod.get("/healthz") == "ok\n"


def test_two_lanes_in_one_pod_share_the_work(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = make_job(tmp_path, 30, gpus=2, gpusPerPod=2, degrees={"lanes": 2})
    pod = pods(job, XDIT_TEST="slow")
    assert pod.wait() == 0, pod.text
    assert pod.result.outcome == "drained"
    owners = {
        json.loads(line)["lane"][:3] for path in Layout.of(job).journals.iterdir() for line in path.read_text().splitlines()
    }
    assert owners == {"0-0", "0-1"}


def test_a_lane_that_died_starts_again_and_the_job_ends_well(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_ranks(tmp_path, 4)
    pod = pods(job, XDIT_TEST="once@1")
    assert pod.wait() == 0, pod.text
    assert pod.result.outcome == "drained"
    assert "rank 1 was killed by signal 9 (SIGKILL); the lane starts again in 1 s" in pod.text
    assert pod.text.count("hello from rank 1 of 2") == 2


def test_a_lane_that_dies_disturbs_no_other_one(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = make_job(tmp_path, 40, gpus=2, gpusPerPod=2, degrees={"lanes": 2})
    pod = pods(job, XDIT_TEST="slow")
    pod.until(lambda: images(job) > 3)
    lanes = {lane: pids[0] for lane in (0, 1) if (pids := ranks_of(pod, lane))}
    os.kill(lanes[0], signal.SIGKILL)

    def restarted() -> Progress | None:
        progress = Progress.model_validate_json(pod.get("/progress"))
        return progress if progress.lanes[0].restarts and progress.lanes[0].phase == "Generating" else None

    progress = pod.until(restarted)
    assert ranks_of(pod, 1) == [lanes[1]]
    assert progress.lanes[1].restarts == 0
    assert 'xdit_lane_restarts_total{lane="0"} 1.0' in pod.get("/metrics")
    assert pod.wait() == 0, pod.text
    assert pod.result.outcome == "drained"
    assert images(job) == 40


def ranks_of(pod: Pod, lane: int) -> list[int]:
    """pids of the ranks of a lane."""
    environments = {pid: processes.environment_of(pid) for pid in processes.descendants(pod.process.pid)}
    return [pid for pid, env in environments.items() if "RANK" in env and env.get("XDIT_LANE") == str(lane)]


def test_a_lane_that_keeps_dying_is_given_up_and_its_first_failure_told(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    pod = pods(two_ranks(tmp_path, 4), XDIT_TEST="broken@1", XDIT_LANE_RESTARTS=2, XDIT_LANE_BACKOFF=0)
    assert pod.wait() == Exit.CUDA_ERROR
    assert pod.result.message == "a test broke the GPU (the lane gave up after 2 restarts)"
    assert pod.text.count("hello from rank 1 of 2") == 3


def test_what_a_restart_cannot_cure_ends_the_attempt_at_once(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = make_job(tmp_path, 500, gpus=2, gpusPerPod=2, degrees={"lanes": 2})
    pod = pods(job, XDIT_TEST="slow")
    pod.until(lambda: images(job) > 3)
    (lane_dir,) = {Path(processes.environment_of(pid)["XDIT_LANE_DIR"]) for pid in ranks_of(pod, 0)}
    handshake.say_failed(lane_dir, RankFailure(0, time.time(), Exit.OUTPUT_VOLUME, "No space left on device"))
    began = time.monotonic()
    assert pod.wait() == Exit.OUTPUT_VOLUME
    assert time.monotonic() - began < 10


def test_a_prompt_that_kills_its_rank_twice_fails_and_the_others_are_drawn(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    prompts = [{"id": i, "prompt": "x"} for i in ("poison", "b", "c")]
    job = make_job(tmp_path, prompts)
    pod = pods(job, XDIT_TEST="poison", XDIT_LANE_RESTARTS=1, XDIT_LANE_BACKOFF=0)
    assert pod.wait() == 0, pod.text
    assert pod.result.counts == Counts(total=3, completed=2, failed=1)
    assert pod.text.count("charged with the crash: poison.") == 2


def test_sigterm_while_a_lane_waits_for_its_restart(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    pod = pods(two_ranks(tmp_path, 4), XDIT_TEST="broken@1", XDIT_LANE_BACKOFF=100)
    pod.until(lambda: "starts again in 100 s" in pod.text)
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait(5) == Exit.STOPPED


def test_a_supervisor_that_hangs_itself_ends_and_says_so(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_ranks(tmp_path)
    Path(job.prompts.path).unlink()
    os.mkfifo(job.prompts.path)  # who opens it waits for ever, as on a volume whose server is gone
    pod = pods(job, XDIT_PATIENCE=2)
    assert pod.wait() == Exit.STALLED
    assert "stood still for 2 s in phase Preflight: a volume does not answer" in pod.result.message
    assert "attempt.py" in pod.text


def test_structured_logs_say_who_and_when(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_ranks(tmp_path, 2)
    pod = pods(job, XDIT_LOG_FORMAT="json")
    assert pod.wait() == 0, pod.text
    lines = [json.loads(line) for line in pod.text.splitlines()]
    assert all(line["time"] and line["level"] == "info" for line in lines)
    (hello,) = [line for line in lines if line.get("message") == "hello from rank 1 of 2 of lane 0"]
    assert (hello["source"], hello["lane"], hello["rank"]) == ("rank", 0, 1)
    made = [line for line in lines if line.get("image")]
    assert {(line["lane"], line["rank"]) for line in made} == {(0, 0)}
    assert len(made) == 2
    kept = (Layout.of(job).logs / "0-0-pod-0.log").read_text().splitlines()
    assert [json.loads(line) for line in kept] == lines


def pair(pods: Callable[..., Pod], job: Job, **env: Any) -> tuple[Pod, Pod]:
    ports = {"XDIT_PEER_PORT": network.free_port(), "MASTER_PORT": network.free_port()}
    return pods(job, "pod-0", NODE_RANK=0, **ports, **env), pods(job, "pod-1", NODE_RANK=1, **ports, **env)


def test_two_pods_are_one_lane(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_pods(tmp_path)
    first, second = pair(pods, job)
    assert (first.wait(), second.wait()) == (0, 0), first.text + second.text
    assert (first.result.outcome, second.result.outcome) == ("drained", "drained")
    assert "hello from rank 0 of 2" in first.text
    assert "hello from rank 1 of 2" in second.text


@pytest.mark.parametrize("victim", [0, 1])
def test_a_pod_that_vanishes_ends_the_other_one(tmp_path: Path, pods: Callable[..., Pod], victim: int) -> None:
    both = pair(pods, two_pods(tmp_path, 500), XDIT_TEST="slow")
    ranks = [both[0].rank(0), both[1].rank(1)]
    both[victim].process.kill()
    processes.send([ranks[victim]], signal.SIGKILL)
    began = time.monotonic()
    other = both[1 - victim]
    assert other.wait(15) == Exit.PEER_LOST
    assert time.monotonic() - began < 12
    assert f"pod pod-{victim}" in other.result.message


def test_a_failure_in_one_pod_reaches_the_other_with_its_reason(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    first, second = pair(pods, two_pods(tmp_path, 500), XDIT_TEST="crash@1")
    assert second.wait() == Exit.CUDA_ERROR
    assert first.wait() == Exit.PEER_LOST
    assert first.result.message == "pod pod-1 failed: CudaError: a test broke the GPU"


def test_a_crash_in_another_pod_is_charged_to_the_prompt_in_work(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = two_pods(tmp_path)
    first, second = pair(pods, job, XDIT_TEST="hold@0,die@1")
    assert second.wait() == Exit.WORKER_FAILED
    assert first.wait() == Exit.PEER_LOST
    assert "rank 1 was killed by signal 11 (SIGSEGV)" in first.result.message
    (claim,) = handshake.claims(first.dir / "life/lane-0")
    assert Layout.of(job).crashed(claim[:-2], int(claim[-1])).is_file()


def test_pods_that_do_not_appear_are_named(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    port = network.free_port()
    first = pods(two_pods(tmp_path), "pod-0", NODE_RANK=0, XDIT_PEER_PORT=port, XDIT_PEER_DEADLINE=1)
    assert first.wait() == Exit.PEERS_UNREACHABLE
    assert "waiting for pod-1" in first.result.message
    second = pods(
        two_pods(tmp_path), "pod-1", NODE_RANK=1, XDIT_PEER_PORT=port, XDIT_PEER_DEADLINE=1, MASTER_ADDR="no-such-host.invalid"
    )
    assert second.wait() == Exit.PEERS_UNREACHABLE
    assert f"no-such-host.invalid:{port}" in second.result.message


def test_sigterm_while_waiting_for_peers(tmp_path: Path, pods: Callable[..., Pod]) -> None:
    pod = pods(two_pods(tmp_path), NODE_RANK=0, XDIT_PEER_PORT=network.free_port())
    pod.until(lambda: "preflight passed" in pod.text)
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait(5) == Exit.STOPPED


def test_preflight_needs_no_torch_and_two_seconds(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1000, engine={"attention": "Flash3"})
    path = tmp_path / "job.json"
    path.write_text(job.model_dump_json(by_alias=True))
    code = (
        "import resource, sys, xdit_runtime.supervisor as s\n"
        f"code = s.main(['run', '--job', {str(path)!r}])\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'xfuser'} & set(sys.modules)\n"
        "print(code, heavy or 'light', 'fast' if used.ru_utime + used.ru_stime < 2 else used)\n"
    )
    env = {**os.environ, "XDIT_LIFE_DIR": str(tmp_path / "life"), "XDIT_HTTP_PORT": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == f"{int(Exit.INVALID_PLAN)} light fast"
