"""Real ranks under torchrun with the real ledger and writer, on the CPU: stopped, killed, resumed, finished."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xdit_api.job import Degrees, Job, JobModel, JobOutput, JobPrompts
from xdit_api.report import Exit
from xdit_api.spec import Defaults
from xdit_runtime import handshake

PATIENCE = 140.0


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("worker") / "model"
    subprocess.run([sys.executable, "-m", "xdit_runtime.tiny_model", str(directory)], check=True, timeout=60, capture_output=True)
    return directory


@dataclass
class Lane:
    """Where one lane lives; each `run` is a new incarnation of it in a new pod."""

    root: Path
    job: Job
    incarnation: int = 0

    @property
    def directory(self) -> Path:
        return self.root / f"lane-{self.incarnation}"

    @property
    def images(self) -> Path:
        return Path(self.job.output.path) / "images"

    @contextmanager
    def run(self) -> Iterator["subprocess.Popen[str]"]:
        self.incarnation += 1
        self.directory.mkdir()
        job_file = self.root / "job.json"
        job_file.write_text(self.job.model_dump_json(by_alias=True))
        environment = {
            **os.environ,
            "XDIT_JOB": str(job_file),
            "XDIT_LANE_DIR": str(self.directory),
            "XDIT_LANE": "0",
            "XDIT_REPLICA": "0",
            "XDIT_ATTEMPT": str(self.incarnation),
            "POD_NAME": "lane-0-0",
            "POD_UID": f"{self.incarnation:08d}-0000",
            "OMP_NUM_THREADS": "1",
        }
        size = str(self.job.degrees.world_size)
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", size, "-m", "xdit_runtime.worker"]
        with (self.root / f"log-{self.incarnation}").open("w") as log:
            process = subprocess.Popen([sys.executable, *launcher], env=environment, stdout=log, stderr=log, text=True)
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def log(self) -> str:
        return (self.root / f"log-{self.incarnation}").read_text()[-6000:]

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen:\n{self.log()}"
            time.sleep(0.02)

    def made(self) -> int:
        return len(list(self.images.glob("*.png"))) if self.images.exists() else 0


def lane(root: Path, model: Path, degrees: Degrees, count: int) -> Lane:
    prompts = root / "prompts.jsonl"
    lines = [{"id": f"p{n}", "prompt": f"boat number {n}", "images": 3 if n == 1 else 1} for n in range(count)]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = Job(
        api_version="xdit.dev/v1alpha1",
        name="ranks",
        uid="0a1b2c3d-0000",
        device="cpu",
        gpus=degrees.world_size,
        gpus_per_pod=degrees.world_size,
        degrees=degrees,
        model=JobModel(id="xdit-dev/tiny-flux", path=str(model), dtype="float32"),
        prompts=JobPrompts(path=str(prompts), format="jsonl"),
        output=JobOutput(path=str(root / "out")),
        defaults=Defaults(width=128, height=128, steps=4),
    )
    return Lane(root, job)


def rank_pids(launcher: int) -> list[int]:
    """Ranks in order: torchrun starts them one after the other."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return sorted(int(pid) for pid in children if "xdit_runtime.worker" in Path(f"/proc/{pid}/cmdline").read_text())


@pytest.mark.timeout(600)  # four launches; 50 s on an idle machine
def test_a_lane_is_stopped_and_killed_and_resumed_and_loses_nothing(model: Path, tmp_path: Path) -> None:
    count = 14
    two = lane(tmp_path, model, Degrees(ulysses=2), count)
    total = count + 2

    with two.run() as process:
        two.wait_for(lambda: two.made() >= 2, "the second image")
        for pid in rank_pids(process.pid):  # ranks leave signals to the supervisor
            os.kill(pid, signal.SIGTERM)
        handshake.ask_to_stop(two.directory)
        assert process.wait(PATIENCE) == 0, two.log()
    ends = handshake.ends(two.directory)
    stopped = two.made()
    assert sorted((e.rank, e.outcome, e.counts.completed) for e in ends) == [(0, "stopped", stopped), (1, "stopped", stopped)]
    assert 2 <= stopped < total

    with two.run() as process:
        two.wait_for(lambda: two.made() >= stopped + 2, "two more images")
        first, second = rank_pids(process.pid)
        os.kill(first, signal.SIGUSR1)
        two.wait_for(lambda: "xdit_runtime/engine/loop.py" in two.log(), "the dump of all stacks")
        os.kill(second, signal.SIGKILL)
        two.wait_for(lambda: bool(handshake.failures(two.directory)), "rank 0's word")
        assert process.wait(PATIENCE) == 1
    (failure,) = handshake.failures(two.directory)
    assert (failure.rank, failure.exit) == (0, Exit.PEER_LOST), failure
    assert handshake.ends(two.directory) == []
    assert two.made() < total

    with two.run() as process:
        assert process.wait(PATIENCE) == 0, two.log()
    assert {(e.rank, e.outcome, e.counts.completed) for e in handshake.ends(two.directory)} == {
        (0, "drained", total),
        (1, "drained", total),
    }
    said = handshake.progress(two.directory)
    assert said is not None
    assert (said[0].phase, said[1].completed) == ("Done", total)

    (tmp_path / "alone").mkdir()
    one = lane(tmp_path / "alone", model, Degrees(), count)
    with one.run() as process:
        assert process.wait(PATIENCE) == 0, one.log()
    names = {path.name for path in one.images.glob("*.png")}
    assert {path.name for path in two.images.glob("*.png")} == names
    assert len(names) == total
    for name in names:
        a, b = (np.asarray(Image.open(images / name)).astype(int) for images in (one.images, two.images))
        assert np.abs(a - b).max() <= 1, name


@pytest.mark.parametrize("damage", ["cut", "missing", "code"])
def test_a_model_that_cannot_be_loaded_is_permanent(model: Path, tmp_path: Path, damage: str) -> None:
    broken = tmp_path / "model"
    shutil.copytree(model, broken)
    weights = broken / "vae" / "diffusion_pytorch_model.safetensors"
    if damage == "cut":
        os.truncate(weights, weights.stat().st_size // 2)
    elif damage == "missing":
        weights.unlink()
    else:
        index = json.loads((broken / "model_index.json").read_text())
        index["scheduler"] = ["scheduler_of_mine", "Scheduler"]
        (broken / "model_index.json").write_text(json.dumps(index))
        (broken / "scheduler" / "scheduler_of_mine.py").write_text("raise SystemExit('code of a model ran')")
    one = lane(tmp_path, broken, Degrees(), 1)
    with one.run() as process:
        assert process.wait(PATIENCE) == 1
    (failure,) = handshake.failures(one.directory)
    assert (failure.rank, failure.exit) == (0, Exit.INVALID_MODEL), one.log()
    assert "code of a model ran" not in one.log()
