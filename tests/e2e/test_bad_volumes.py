"""What lies on a volume is checked by the first preflight: it fails for good, says what to do, and holds no GPU."""

from datetime import datetime
from typing import Any

import pytest

from tests.e2e.jobs import condition, ended, job
from tests.support.kube import Kube

MODEL = {"id": "xdit-dev/tiny-flux", "dtype": "float32"}
BAD_PROMPTS = '{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "y"}\n{oops\n{"id": "b", "prompt": "z", "width": 1000}\n'


def failed(kube: Kube, resource: Any) -> Any:
    kube.apply(resource)
    return kube.wait("xdit", resource["metadata"]["name"], ended, deadline=120)


def seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


CASES = [
    (
        job("no-model", model={**MODEL, "source": {"pvc": {"claimName": "models", "path": "nowhere"}}}),
        "InvalidModel",
        ["/models/nowhere", "model_index.json"],
    ),
    (
        job("pickled-model", model={**MODEL, "source": {"pvc": {"claimName": "models", "path": "pickled"}}}),
        "InvalidModel",
        ["pytorch_model.bin", "safetensors"],
    ),
    (
        job("bad-prompts", prompts={"volume": {"claimName": "data", "path": "bad.jsonl"}}),
        "InvalidPrompts",
        ["3 bad lines", "line 2: id 'a' is used on line 1 already", "line 3: not JSON", "line 4: width"],
    ),
    (
        job("no-prompts", prompts={"volume": {"claimName": "data", "path": "missing.jsonl"}}),
        "InvalidPrompts",
        ["missing.jsonl"],
    ),
    (
        job("wrong-size", gpus=2, parallelism={"ring": 2}, prompts={"volume": {"claimName": "data", "path": "tall.jsonl"}}),
        "InvalidPlan",
        ["height 80", "multiple of 32"],
    ),
]


@pytest.fixture(scope="module")
def volumes(workspace: Kube) -> Kube:
    """Files that no API shows."""
    script = "mkdir -p /models/pickled && cp -r /models/tiny-flux/. /models/pickled/ && touch /models/pickled/pytorch_model.bin"
    workspace.run("exec", "tools", "--", "sh", "-c", script)
    workspace.run("exec", "-i", "tools", "--", "sh", "-c", "cat > /data/bad.jsonl", stdin=BAD_PROMPTS)
    tall = '{"id": "a", "prompt": "x", "height": 80}\n'
    workspace.run("exec", "-i", "tools", "--", "sh", "-c", "cat > /data/tall.jsonl", stdin=tall)
    return workspace


@pytest.mark.parametrize(("resource", "reason", "words"), CASES, ids=[c[0]["metadata"]["name"] for c in CASES])
def test_first_preflight_fails_the_job_for_good(volumes: Kube, resource: Any, reason: str, words: list[str]) -> None:
    name = resource["metadata"]["name"]
    status = failed(volumes, resource)["status"]
    assert status["phase"] == "Failed"
    assert status["restarts"] == 0
    for kind in ("Failed", "Stalled"):
        assert condition({"status": status}, kind)["status"] == "True"
        assert condition({"status": status}, kind)["reason"] == reason
    message = condition({"status": status}, "Failed")["message"]
    for word in words:
        assert word in message
    assert status["firstFailure"]["pod"].startswith(f"{name}-0-")
    described = volumes.run("describe", "xdit", name).stdout
    assert all(word in described for word in words)

    # GPUs are back within a minute of the container's start
    volumes.wait_gone("pods", selector=f"xdit.dev/name={name}", deadline=60)
    assert seconds(status["startTime"], status["completionTime"]) < 60
    assert volumes.get("xdit", name)["status"]["gpus"] == 0
