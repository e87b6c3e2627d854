"""What goes wrong under real ranks on the CPU: each failure ends within its time, with its own code and words.

The times that are printed are those of docs/failures.md: `pytest -s tests/parity/test_failures.py`.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.parity.cgroups import limited
from tests.unit.runtime.jobs import make_job
from tests.unit.runtime.pod import Pod, pods_below
from xdit_api.job import Job
from xdit_api.report import Exit, Progress
from xdit_runtime import handshake, network, processes
from xdit_runtime.paths import Layout

PATIENCE = 120.0
DEAD = 30.0
"""Seconds in which a pod must report a dead rank."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("failures") / "model"
    subprocess.run([sys.executable, "-m", "xdit_runtime.tiny_model", str(directory)], check=True, timeout=60, capture_output=True)
    return directory


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    real = {"XDIT_RANK_MODULE": "xdit_runtime.worker", "XDIT_LAUNCH_MODULE": "torch.distributed.run", "OMP_NUM_THREADS": "1"}
    made = pods_below(tmp_path)
    make = next(made)
    yield lambda job, name="pod-0", **env: make(job, name, **{**real, **env})
    next(made, None)


def job_of(root: Path, model: Path, prompts: int = 500, **changes: Any) -> Job:
    return make_job(root, prompts, model={"path": str(model)}, defaults={"width": 128, "height": 128, "steps": 4}, **changes)


def made(job: Job) -> int:
    folder = Layout.of(job).images
    return len(list(folder.glob("*.png"))) if folder.exists() else 0


def drawing(pod: Pod, job: Job, images: int = 2) -> None:
    """Wait until that many images are there."""
    pod.until(lambda: made(job) >= images, PATIENCE)


def measured(what: str, began: float) -> float:
    seconds = time.monotonic() - began
    print(f"{what}: {seconds:.1f} s")
    return seconds


def held_in_work(rank: int, lane_dir: Path) -> str | None:
    """Stop a rank while it draws; the claim that it draws. None, with the rank running, when it does something else."""
    os.kill(rank, signal.SIGSTOP)
    while not processes.stopped(rank):
        time.sleep(0.01)
    claims = handshake.claims(lane_dir)
    if not claims:
        os.kill(rank, signal.SIGCONT)
        return None
    return claims[0]


@contextmanager
def volume(path: Path, size: str) -> Iterator[None]:
    """A file system of its own."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.timeout(300)
def test_a_killed_rank_is_started_again_and_a_stopped_one_ends_the_attempt(
    model: Path, tmp_path: Path, pods: Callable[..., Pod]
) -> None:
    job = job_of(tmp_path, model, gpus=2, gpusPerPod=2, degrees={"ulysses": 2}, stallSeconds=30)
    pod = pods(job)
    drawing(pod, job)
    began = time.monotonic()
    os.kill(pod.rank(1), signal.SIGKILL)
    pod.until(lambda: "the lane starts again in 1 s" in pod.text, DEAD)
    measured("a killed rank, until its lane is told to start again", began)
    assert "rank 1 was killed by signal 9 (SIGKILL)" in pod.text
    before = made(job)
    drawing(pod, job, before + 2)
    measured("until its next image", began)

    def with_eta() -> Progress | None:
        found = Progress.model_validate_json(pod.get("/progress"))
        return found if found.eta_seconds is not None else None

    progress = pod.until(with_eta, DEAD)
    (lane,) = progress.lanes
    assert lane.restarts == 1
    assert lane.load_seconds is not None
    assert lane.first_step_seconds is not None
    assert progress.start_seconds is not None
    assert progress.memory is not None
    assert progress.memory.current is not None
    print(json.dumps({"load": lane.load_seconds, "first step": lane.first_step_seconds, "start": progress.start_seconds}))
    assert "[rank0]:" in pod.text
    assert not list((pod.dir / "life").rglob("*.log")), "what ranks print is kept in no file"

    began = time.monotonic()
    os.kill(pod.rank(0), signal.SIGSTOP)
    assert pod.wait(30 + DEAD) == Exit.STALLED
    assert measured("a stopped rank, stallSeconds 30", began) >= 30
    assert "rank 0 was stopped by a signal" in pod.result.message
    assert pod.text.count("Current thread 0x") + pod.text.count("most recent call first") >= 2
    assert "engine/loop.py" in pod.text


@pytest.mark.timeout(200)
def test_a_crash_is_charged_to_the_image_in_work_and_sigterm_finishes_it(
    model: Path, tmp_path: Path, pods: Callable[..., Pod]
) -> None:
    job = job_of(tmp_path, model)
    pod = pods(job)
    drawing(pod, job)
    rank = pod.rank(0)
    claim = pod.until(lambda: held_in_work(rank, pod.dir / "life/lane-0"))
    os.kill(rank, signal.SIGSEGV)
    os.kill(rank, signal.SIGCONT)
    pod.until(lambda: f"charged with the crash: {claim}" in pod.text, DEAD)
    assert "rank 0 was killed by signal 11 (SIGSEGV); the lane starts again in 1 s" in pod.text
    prompt, _, generation = claim.rpartition(".")
    assert Layout.of(job).crashed(prompt, int(generation)).is_file()
    pod.until((Layout.of(job).images / f"{prompt}.png").is_file, PATIENCE)

    began = time.monotonic()
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait(DEAD) == Exit.STOPPED
    measured("SIGTERM", began)
    assert pod.result.outcome == "stopped"
    assert pod.result.counts is not None
    assert pod.result.counts.completed == made(job)
    claims = [path for path in Layout.of(job).claims.rglob("*") if path.is_file()]
    finished = {path.name.split(".")[0] for path in Layout.of(job).images.rglob("*.png")}
    held = {path.name.split(".")[0] for path in claims} - {p.name.split(".")[0] for p in claims if p.name.endswith(".released")}
    assert held <= finished, "no image in work is lost, no claim is left behind"


@pytest.mark.timeout(200)
def test_a_volume_that_fills_up(model: Path, tmp_path: Path, pods: Callable[..., Pod]) -> None:
    with volume(tmp_path / "volume", "3m"):
        job = job_of(tmp_path, model, 60, output={"path": str(tmp_path / "volume/out"), "volumePath": "out"})
        pod = pods(job)
        drawing(pod, job)
        ballast = tmp_path / "volume/ballast"
        began = time.monotonic()
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(1 << 16)):
                    pass
            except OSError:
                pass
        assert pod.wait(DEAD) == Exit.OUTPUT_VOLUME
        measured("a full volume", began)
        assert "No space left on device" in pod.result.message
        ballast.unlink()
        names = [path.name for path in Layout.of(job).images.iterdir()]
        assert all(path.stat().st_size > 1000 for path in Layout.of(job).images.iterdir()), names


@pytest.mark.timeout(200)
def test_a_volume_that_becomes_read_only(model: Path, tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = job_of(tmp_path, model)
    pod = pods(job)
    drawing(pod, job)
    began = time.monotonic()
    # Linux refuses to make a mount read-only while a file on it is open for writing: the kernel that gives up on a disk does not ask
    with volume(Layout.of(job).scratch, "1m,ro"):
        assert pod.wait(DEAD) == Exit.OUTPUT_VOLUME
    measured("a read-only volume", began)
    assert "Read-only file system" in pod.result.message


@pytest.mark.timeout(200)
def test_the_memory_limit_of_the_pod(model: Path, tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = job_of(tmp_path, model)
    with limited(f"xdit-test-{os.getpid()}", 300 << 20) as folder:
        began = time.monotonic()
        pod = pods(job, XDIT_LANE_RESTARTS=0)
        (folder / "cgroup.procs").write_text(str(pod.process.pid))
        assert pod.wait(PATIENCE) == Exit.OUT_OF_MEMORY, pod.text
        measured("the memory limit, from the start of the pod", began)
        assert "the pod's memory limit was reached: raise worker.resources.limits.memory" in pod.result.message


@pytest.mark.timeout(200)
def test_a_rank_that_asks_for_more_memory_than_there_is(model: Path, tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = job_of(tmp_path, model)
    job = job.model_copy(update={"defaults": job.defaults.model_copy(update={"width": 512, "height": 512})})
    # small pictures fit into what the allocator has kept; large ones with this ask the kernel for every tensor
    pod = pods(job, XDIT_LANE_RESTARTS=0, MALLOC_MMAP_THRESHOLD_=65536)
    drawing(pod, job, 1)
    began = time.monotonic()
    resource.prlimit(pod.rank(0), resource.RLIMIT_AS, (1 << 20, 1 << 20))
    assert pod.wait(DEAD) == Exit.OUT_OF_MEMORY, pod.text
    measured("an allocation that fails", began)
    assert pod.result.rank == 0


@pytest.mark.timeout(300)
def test_a_late_pod_is_waited_for_and_its_death_ends_both(model: Path, tmp_path: Path, pods: Callable[..., Pod]) -> None:
    job = job_of(tmp_path, model, gpus=2, gpusPerPod=1, degrees={"ulysses": 2})
    ports = {"XDIT_PEER_PORT": network.free_port(), "MASTER_PORT": network.free_port()}
    first = pods(job, "pod-0", NODE_RANK=0, **ports)
    first.until(lambda: "preflight passed" in first.text)
    time.sleep(float(os.environ.get("XDIT_TEST_LATE", "3")))
    second = pods(job, "pod-1", NODE_RANK=1, **ports)
    drawing(first, job)
    began = time.monotonic()
    os.kill(second.rank(1), signal.SIGKILL)
    assert second.wait(DEAD) == Exit.WORKER_FAILED
    measured("a killed rank of a lane over two pods, in its own pod", began)
    assert first.wait(DEAD) == Exit.PEER_LOST
    assert measured("in the other pod", began) < DEAD
    assert second.result.message == "rank 1 was killed by signal 9 (SIGKILL)"
    assert "[rank0]:" in first.text
    assert first.result.message == "pod pod-1 failed: WorkerFailed: rank 1 was killed by signal 9 (SIGKILL)"
