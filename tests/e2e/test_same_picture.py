"""The same prompt and seed give the same picture through every exact mode, in one pod and over several."""

import numpy as np
import pytest

from tests.e2e.jobs import Pictures, ended, holds, job
from tests.support.kube import Kube

MODES = {
    "single": job("single"),
    "ulysses-one-pod": job("ulysses-one-pod", gpus=2, parallelism={"ulysses": 2}),
    "ulysses-two-pods": job("ulysses-two-pods", gpus=2, gpusPerPod=1, parallelism={"ulysses": 2}),
    "ring-one-pod": job("ring-one-pod", gpus=2, parallelism={"ring": 2}),
}


@pytest.fixture(scope="module")
def outputs(workspace: Kube) -> dict[str, Pictures]:
    """All modes at once (start-up is most of it, and it overlaps)."""
    for resource in MODES.values():
        workspace.apply(resource)
    done = {name: workspace.wait("xdit", name, ended, deadline=420) for name in MODES}
    assert {name: r["status"]["phase"] for name, r in done.items()} == dict.fromkeys(MODES, "Complete")
    return {name: Pictures(workspace, name) for name in MODES}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", [m for m in MODES if m != "single"])
def test_mode_gives_the_picture_of_one_rank(outputs: dict[str, Pictures], mode: str) -> None:
    for name in ("boat", "owl"):
        difference = np.abs(outputs["single"].image(name) - outputs[mode].image(name))
        assert difference.max() <= 1


def test_another_prompt_gives_another_picture(outputs: dict[str, Pictures]) -> None:
    difference = np.abs(outputs["single"].image("boat") - outputs["single"].image("owl"))
    assert difference.mean() > 5


def test_every_image_is_in_the_manifest_once(outputs: dict[str, Pictures]) -> None:
    for pictures in outputs.values():
        assert pictures.names == ["boat", "owl"]
        assert sorted(entry["id"] for entry in pictures.manifest) == ["boat", "owl"]
        assert b"<html" in pictures.files["index.html"].lower()


def test_the_resource_tells_what_happened(workspace: Kube, outputs: dict[str, Pictures]) -> None:
    status = workspace.get("xdit", "ulysses-two-pods")["status"]
    assert status["progress"]["summary"] == "2/2"
    assert status["gpus"] == 0
    assert (status["plan"]["ulysses"], status["plan"]["podsPerReplica"]) == (2, 2)
    assert holds({"status": status}, "Ready")
    assert holds({"status": status}, "Complete")
    assert status["observedGeneration"] == 1
    workspace.run("wait", "--for=condition=Complete", "xdit/ulysses-two-pods", "--timeout=5s")
    table = workspace.run("get", "xdit", "ulysses-two-pods").stdout
    assert table.split("\n")[0].split() == ["NAME", "PHASE", "IMAGES", "S/IMAGE", "ETA", "GPUS", "RESTARTS", "AGE"]
    assert "Complete" in table
    described = workspace.run("describe", "xdit", "ulysses-two-pods").stdout
    assert "AllImagesWritten" in described


def test_nothing_is_left_running(workspace: Kube, outputs: dict[str, Pictures]) -> None:
    workspace.wait_gone("pods", selector="app.kubernetes.io/managed-by=xdit-operator", deadline=60)
