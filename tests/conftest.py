"""Fixtures for tests that need a cluster: a `kubectl` in a fresh namespace; on failure, everything about it in ./diagnostics.

Unit tests use none of this. The cluster is the one of `tests/cluster/up`.
"""

import re
import subprocess
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.alone import alone
from tests.support.kube import KUBECONFIG, Kube

ROOT = Path(__file__).parents[1]
ACTIVE = pytest.StashKey[list[Kube]]()
DIAGNOSED = pytest.StashKey[int]()
# each takes some seconds, and what breaks a whole module shows in the first ones
MOST_DIAGNOSES = 10
NamespaceFactory = Callable[[str], Kube]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ACTIVE] = []
    config.stash[DIAGNOSED] = 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """What a failed test leaves in the cluster is written down before any fixture cleans it away."""
    report = yield
    stash = item.config.stash
    if report.failed and report.when in ("setup", "call") and stash[ACTIVE] and stash[DIAGNOSED] < MOST_DIAGNOSES:
        stash[DIAGNOSED] += 1
        for kube in stash[ACTIVE]:
            folder = ROOT / "diagnostics" / slug(item.name, 60) / kube.namespace
            subprocess.run(
                [ROOT / "tests/cluster/diagnostics", kube.namespace, folder], timeout=120, capture_output=True, check=False
            )
            report.sections.append(("cluster", f"state of namespace {kube.namespace}: {folder}"))
    return report


def slug(text: str, length: int) -> str:
    """`text` as a part of a DNS label."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:length].strip("-") or "x"


def _namespace(kube: Kube, level: str) -> Any:
    labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": kube.namespace, "labels": labels | {"xdit.dev/test": "true"}},
    }


def _make(config: pytest.Config, name: str, level: str = "restricted") -> Kube:
    if not KUBECONFIG.exists():
        raise FileNotFoundError(f"no cluster: {KUBECONFIG} does not exist; run `make cluster`")
    kube = Kube(f"t-{slug(name, 40)}-{uuid.uuid4().hex[:6]}")
    kube.create(_namespace(kube, level))
    config.stash[ACTIVE].append(kube)
    # pods are refused until the account is there
    kube.wait("serviceaccount", "default", lambda _: True, deadline=30)
    return kube


def _remove(config: pytest.Config, kube: Kube) -> None:
    config.stash[ACTIVE].remove(kube)
    kube.run("delete", "namespace", kube.namespace, "--wait=false", "--ignore-not-found")


@pytest.fixture
def kube(request: pytest.FixtureRequest) -> Iterator[Kube]:
    """A fresh namespace of this test, Pod Security `restricted`."""
    made = _make(request.config, request.node.name)
    yield made
    _remove(request.config, made)


@pytest.fixture(scope="module")
def kube_module(request: pytest.FixtureRequest) -> Iterator[Kube]:
    """A fresh namespace that the tests of a module share."""
    made = _make(request.config, Path(request.node.name).stem)
    yield made
    _remove(request.config, made)


@pytest.fixture
def namespace_factory(request: pytest.FixtureRequest) -> Iterator[NamespaceFactory]:
    """Makes further restricted namespaces, removed after the test."""
    made: list[Kube] = []

    def make(name: str) -> Kube:
        made.append(_make(request.config, name))
        return made[-1]

    yield make
    for each in made:
        _remove(request.config, each)


@pytest.fixture(scope="session")
def python_image() -> str:
    """A small image with python3 that is on every node."""
    image = "local/debian:bookworm-python"
    with alone("images"):
        for command in (["base-image.sh", "bookworm-python"], ["load", image]):
            done = subprocess.run(
                [ROOT / "tests/cluster" / command[0], *command[1:]], capture_output=True, text=True, timeout=280, check=False
            )
            assert done.returncode == 0, done.stderr
    return image
