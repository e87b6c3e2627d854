"""Every command in the README is run, word for word, in the order of the page."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.jobs import claim
from tests.support.kube import Kube

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ENDLESS = re.compile(r"kubectl .* -w$")
"""Watches: run for a few seconds."""
THIS_RUN = "make test"
"""What runs this test."""


def commands() -> list[str]:
    """Lines that start with `$ ` in the page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", README, flags=re.S)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def resources() -> list[Any]:
    """The page's YAML blocks."""
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", README, flags=re.S)]


@pytest.fixture(scope="module")
def shell(kube_module: Kube, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs a command as a user would, in the checkout, with kubectl pointing at a namespace of its own."""
    config = tmp_path_factory.mktemp("readme") / "kubeconfig"
    config.write_bytes(Path(os.environ["KUBECONFIG"]).read_bytes())
    env = {**os.environ, "KUBECONFIG": str(config), "XDIT_KUBECONFIG": os.environ["KUBECONFIG"]}
    subprocess.run(
        ["kubectl", "config", "set-context", "--current", f"--namespace={kube_module.namespace}"],
        env=env,
        check=True,
        capture_output=True,
    )
    for name in ("models", "pictures", "data"):
        kube_module.apply(claim(name))

    def run(command: str, timeout: float) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def test_the_page_has_commands() -> None:
    assert commands()[:2] == ["make demo", "make test"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", [c for c in commands() if c != THIS_RUN])
def test_command_works(shell: Any, command: str) -> None:
    if ENDLESS.match(command):
        shell(f"timeout 3 {command} || [ $? = 124 ]", timeout=20)
    elif command == "make demo":
        printed = shell(command, timeout=800)
        pictures = list((ROOT / "demo-output/images").glob("*.png"))
        assert len(pictures) >= 8
        assert len({p.read_bytes() for p in pictures}) == len(pictures)
        assert "demo-output/index.html" in printed.replace("\n", "")
    else:
        shell(command, timeout=120)


@pytest.mark.parametrize("resource", resources(), ids=lambda r: r["kind"])
def test_resource_is_accepted(kube_module: Kube, resource: Any) -> None:
    # another name: the page's commands may have made it already
    resource["metadata"]["name"] = "accepted"
    kube_module.run("create", "--dry-run=server", "-f", "-", stdin=yaml.dump(resource))


@pytest.mark.parametrize("sample", sorted((ROOT / "manifests/samples").glob("*.yaml")), ids=lambda p: p.name)
def test_sample_is_accepted(kube_module: Kube, sample: Path) -> None:
    test_resource_is_accepted(kube_module, yaml.safe_load(sample.read_text()))
