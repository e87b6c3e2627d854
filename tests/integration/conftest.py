"""The operator under test, the stand-in worker's image, and a namespace with claims."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.jobs import claims
from tests.integration.operator_process import NAME, SYSTEM, Operator
from tests.support.alone import alone
from tests.support.kube import Kube

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def standin(python_image: str) -> str:
    """A light worker image on every node."""
    image = "xdit-standin:dev"
    build = ["docker", "build", "-q", "-t", image, "--build-arg", f"BASE_IMAGE={python_image}", "tests/integration/standin"]
    with alone("images"):
        for command in (build, ["tests/cluster/load", image]):
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    return image


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Installed in the cluster (`make deploy`), or else a process of this machine."""
    installed = SYSTEM.find("deployment", NAME) is not None
    running = Operator(installed, tmp_path_factory.mktemp("operator") / "log")
    running.start()
    yield running
    if not installed:
        running.stop()


@pytest.fixture
def studio(kube: Kube, operator: Operator, standin: str) -> Kube:
    """A restricted namespace with the claims that jobs name; the operator runs."""
    kube.apply(claims())
    return kube
