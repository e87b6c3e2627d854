"""What a pod answers on HTTP."""

import re
import urllib.request
from collections.abc import Iterator

import pytest

from xdit_api.report import Counts, GpuProgress, HostMemory, LaneProgress, Progress
from xdit_runtime.network import free_port
from xdit_runtime.progress import serve
from xdit_runtime.supervisor import main
from xdit_runtime.table import render

LANES = [
    LaneProgress(index=0, phase="Generating", prompt="cat", step=7, steps=28, completed=12, seconds_per_image=0.61, restarts=1,
                 load_seconds=9.5, first_step_seconds=12.0, blocked_seconds=0.25),
    LaneProgress(index=1, phase="Restarting"),
]  # fmt: skip
PROGRESS = Progress(
    job_uid="u", replica=0, attempt=2, phase="Running", counts=Counts(total=64, completed=12, failed=1), lanes=LANES,
    eta_seconds=31.5, start_seconds=1.5, memory=HostMemory(current=5, peak=7),
    gpus=[GpuProgress(index=0, memory_used=30, memory_total=141, utilization=97), GpuProgress(index=1, memory_used=1, memory_total=2)],
)  # fmt: skip


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = serve(lambda: PROGRESS, 0)
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def test_progress_is_the_whole_of_it(url: str) -> None:
    assert Progress.model_validate_json(get(f"{url}/progress")) == PROGRESS


METRICS = [
    'xdit_images{state="completed"} 12.0',
    'xdit_images{state="failed"} 1.0',
    'xdit_lane_images{lane="0"} 12.0',
    'xdit_lane_restarts_total{lane="0"} 1.0',
    'xdit_lane_phase{lane="1",phase="Restarting"} 1.0',
    'xdit_lane_seconds_per_image{lane="0"} 0.61',
    'xdit_lane_load_seconds{lane="0"} 9.5',
    'xdit_lane_first_step_seconds{lane="0"} 12.0',
    'xdit_lane_blocked_seconds{lane="0"} 0.25',
    'xdit_lane_step{lane="0"} 7.0',
    'xdit_gpu_memory_used_bytes{gpu="0"} 30.0',
    'xdit_gpu_memory_total_bytes{gpu="1"} 2.0',
    'xdit_gpu_utilization_ratio{gpu="0"} 0.97',
    'xdit_host_memory_bytes{kind="peak"} 7.0',
    "xdit_eta_seconds 31.5",
    "xdit_start_seconds 1.5",
    'xdit_worker_phase{phase="Running"} 1.0',
]


@pytest.mark.parametrize("line", METRICS)
def test_metrics(url: str, line: str) -> None:
    assert line in get(f"{url}/metrics").splitlines()


def test_labels_are_bounded_and_what_is_unknown_is_left_out(url: str) -> None:
    text = get(f"{url}/metrics")
    assert set(re.findall(r'(\w+)="', text)) == {"state", "lane", "phase", "gpu", "kind"}
    assert "cat" not in text
    assert 'xdit_gpu_utilization_ratio{gpu="1"}' not in text
    assert 'kind="limit"' not in text


def test_status_for_people() -> None:
    assert render(PROGRESS).splitlines() == [
        "replica 0, attempt 2: Running",
        "12/64 images, 1 prompt failed, 32s left",
        "host memory 0.0 GiB, at most 0.0 GiB",
        "",
        "LANE  PHASE       PROMPT  STEP  IMAGES  S/IMAGE  RESTARTS",
        "0     Generating  cat     7/28  12      0.61     1",
        "1     Restarting  -       -     0       -        0",
        "",
        "GPU  MEMORY              BUSY",
        "0    0.0 GiB of 0.0 GiB  97 %",
        "1    0.0 GiB of 0.0 GiB  -",
    ]


def test_the_status_command_asks_the_worker(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDIT_HTTP_PORT", url.rpartition(":")[2])
    assert main(["status"]) == 0
    assert capsys.readouterr().out.startswith("replica 0, attempt 2: Running\n12/64 images")
    monkeypatch.setenv("XDIT_HTTP_PORT", str(free_port()))
    assert main(["status"]) == 1
    assert "no worker answers on port" in capsys.readouterr().err
