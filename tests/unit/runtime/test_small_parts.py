"""Settings, torchrun's command and environment, logs, processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.runtime.jobs import make_job
from xdit_runtime import handshake, lanes, logs, network, processes
from xdit_runtime.logs import SUPERVISOR, Log, Source, encode, level_of
from xdit_runtime.settings import Settings


def settings(tmp_path: Path, **env: str) -> Settings:
    return Settings.read({"XDIT_LIFE_DIR": str(tmp_path), "POD_NAME": "p", "POD_UID": "u", **env})


def test_without_kubernetes_there_are_defaults() -> None:
    found = Settings.read({}, Path("job.json"))
    assert (found.replica, found.attempt, found.node_rank, found.http_port, found.grace) == (0, 0, 0, 8080, None)
    assert found.job_path == Path.cwd() / "job.json"
    assert found.life_dir.is_dir()
    with pytest.raises(ValueError, match="XDIT_REPLICA must be a whole number, not 'x'"):
        Settings.read({"XDIT_REPLICA": "x"})
    with pytest.raises(ValueError, match="XDIT_LOG_FORMAT must be text or json, not 'xml'"):
        Settings.read({"XDIT_LOG_FORMAT": "xml"})


def test_the_rendezvous_of_a_lane_over_several_pods(tmp_path: Path) -> None:
    job = make_job(tmp_path, gpus=4, gpusPerPod=2, degrees={"ulysses": 4})
    command = lanes.command(settings(tmp_path, NODE_RANK="1"), job, "cr-0-0.cr", 29500, tmp_path / "lane-0")
    for option in (
        "--nnodes=2",
        "--node-rank=1",
        "--nproc-per-node=2",
        "--master-addr=cr-0-0.cr",
        "--master-port=29500",
        "--max-restarts=0",
    ):
        assert option in command
    assert command[-2:] == ["-m", "xdit_runtime.worker"]


def test_nothing_inherited_tells_a_rank_who_it_is(tmp_path: Path) -> None:
    stray = {"PET_NNODES": "4", "MASTER_ADDR": "x", "RANK": "3", "WORLD_SIZE": "9", "TORCHELASTIC_RUN_ID": "r", "NNODES": "2"}
    env = {**stray, "KEEP": "1", "USE_LIBUV": "0", "GLOO_SOCKET_IFNAME": "mine", "OMP_NUM_THREADS": "3"}
    made = lanes.environment(settings(tmp_path), make_job(tmp_path), 1, tmp_path / "lane-1", env, "eth0")
    assert not set(stray) & set(made)
    assert (made["KEEP"], made["USE_LIBUV"], made["GLOO_SOCKET_IFNAME"], made["OMP_NUM_THREADS"]) == ("1", "0", "mine", "3")
    assert (made["XDIT_LANE"], made["XDIT_LANE_DIR"]) == ("1", str(tmp_path / "lane-1"))
    assert lanes.environment(settings(tmp_path), make_job(tmp_path), 0, tmp_path, {}, "eth0")["GLOO_SOCKET_IFNAME"] == "eth0"
    assert "GLOO_SOCKET_IFNAME" not in lanes.environment(settings(tmp_path), make_job(tmp_path), 0, tmp_path, {}, None)


def test_lanes_get_their_slices_of_the_gpus(tmp_path: Path) -> None:
    job = make_job(tmp_path, device="cuda", gpus=4, gpusPerPod=4, degrees={"lanes": 2, "ulysses": 2})
    for env, expected in (({"CUDA_VISIBLE_DEVICES": "1,3,5,7"}, "5,7"), ({}, "2,3")):
        assert lanes.environment(settings(tmp_path), job, 1, tmp_path, env, None)["CUDA_VISIBLE_DEVICES"] == expected


def test_the_interface_of_an_address() -> None:
    assert network.interface_towards("127.0.0.1") == "lo"
    assert network.interface_towards("127.0.0.2") == "lo"
    assert network.interface_towards("no-such-host.invalid") is None


def test_the_log_keeps_early_lines_and_its_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(limit=2000)
    log.say("before the volume")
    path = tmp_path / "0-0-p.log"
    log.attach(path)
    log.close()
    assert "before the volume" in path.read_text()
    for n in range(200):
        log.say(f"line {n}", Source(0, 0))
    log.close()
    assert path.stat().st_size <= 1000
    assert (tmp_path / "0-0-p.1.log").stat().st_size <= 1000
    assert path.read_text().endswith("[rank0]:line 199\n")
    assert capsys.readouterr().out.count("\n") == 201


def test_a_log_that_cannot_be_written_says_so_once_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.attach(tmp_path / "no-such-directory/x.log")
    log.say("one")
    log.close()
    log.say("two")
    out = capsys.readouterr().out
    assert out.count("the log on the volume stops here") == 1
    assert "[supervisor] two" in out


def test_a_volume_that_hangs_holds_no_line_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "0-0-p.log"
    os.mkfifo(path)  # whoever opens it waits for a reader
    log = Log()
    log.attach(path)
    began = time.monotonic()
    for n in range(25_000):
        log.say(f"line {n}")
    log.close(0.2)
    assert time.monotonic() - began < 10
    assert capsys.readouterr().out.endswith("line 24999\n")
    with path.open("rb"):  # lets the writer go: it finds that this is no file
        until(lambda: "the log on the volume stops here" in capsys.readouterr().out)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_lines_that_a_slow_volume_missed_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_WAITING", 3)
    log = Log()
    for n in range(10):
        log.say(f"line {n}")
    log.attach(tmp_path / "x.log")
    log.close()
    log.say("after")
    log.close()
    kept = (tmp_path / "x.log").read_text().splitlines()
    assert [line.rpartition("] ")[2] for line in kept] == [
        "line 0", "line 1", "line 2", "... 7 lines are missing here: the volume was too slow", "after",
    ]  # fmt: skip


def test_how_a_line_is_encoded() -> None:
    when = datetime(2026, 11, 21, 12, 0, 5, 250_000, tzinfo=UTC)
    rank = Source(1, 3, several=True)
    assert encode("text", when, "info", rank, "x") == "12:00:05 [lane 1] [rank3]:x"
    assert encode("text", when, "error", Source(0), "x") == "12:00:05 ERROR [torchrun] x"
    head = {"time": "2026-11-21T12:00:05.250+00:00", "level": "warning", "source": "rank", "lane": 1, "rank": 3}
    assert json.loads(encode("json", when, "warning", rank, "é")) == {"message": "é", **head}
    made = '{"image": "cat-1", "seconds": 0.6, "rank": "no"}'
    assert json.loads(encode("json", when, "warning", rank, made)) == {"image": "cat-1", "seconds": 0.6, **head}
    assert json.loads(encode("json", when, "info", SUPERVISOR, "{broken"))["message"] == "{broken"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("loading", "info"),
        ("Traceback (most recent call last):", "error"),
        ("W1121 13:40:00.000000 17 torch/distributed/run.py:852] x", "warning"),
        ("[E1121 13:40:00 ProcessGroupNCCL.cpp:616] x", "error"),
        ("2026-11-21 13:40:00,123 - WARNING - x", "warning"),
        ("ERROR:root:x", "error"),
        ("no ERRORS here", "info"),
    ],
)
def test_what_a_line_says_of_itself(line: str, level: str) -> None:
    assert level_of(line) == level


def test_orphans_are_killed_and_reaped(tmp_path: Path) -> None:
    """In a process of its own, which becomes their parent."""
    code = """
import os, subprocess, sys, time
from pathlib import Path
from xdit_runtime import processes
processes.adopt_orphans()
shell = subprocess.Popen(["sh", "-c", "setsid sleep 300 & setsid sleep 301 & sleep 0.2"])
shell.wait()
left = processes.descendants(os.getpid())
assert len(left) == 2, left
processes.kill_below(os.getpid())
assert processes.descendants(os.getpid()) == []
processes.reap(())
assert not any(Path(f"/proc/{pid}").exists() for pid in left)
print("clean")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "clean\n", done.stderr


def test_a_lane_dies_with_its_supervisor() -> None:
    code = """
import subprocess, time
from xdit_runtime import processes
child = subprocess.Popen(["sleep", "300"], preexec_fn=processes.die_with_parent)
print(child.pid, flush=True)
time.sleep(300)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert processes.alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(5)
    deadline = time.monotonic() + 5
    while processes.alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_claims_in_work_are_told_until_they_are_taken_back(tmp_path: Path) -> None:
    assert handshake.claims(tmp_path) == []
    handshake.say_claims(tmp_path, ["cat.1", "dog.3"])
    assert handshake.claims(tmp_path) == ["cat.1", "dog.3"]
    handshake.say_claims(tmp_path, [])
    assert handshake.claims(tmp_path) == []
