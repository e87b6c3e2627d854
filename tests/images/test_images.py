"""The three images, run as hard as a cluster may run them. `tests/images/build all` makes them."""

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.images.container import STRANGER, inspect, python, run
from xdit_api import API_VERSION
from xdit_api.job import Job
from xdit_api.pod import CACHE_DIR, JOB_FILE, LIFE_DIR, MODEL_DIR, OUTPUT_DIR, TERMINATION_LOG
from xdit_api.report import Counts, Result

OPERATOR, CPU, CUDA = "xdit-operator:dev", "xdit-runtime:cpu-dev", "xdit-runtime:cuda-dev"
RUNTIMES = [CPU, CUDA]
ROOT = Path(__file__).parents[2]

IMPORT_ALL = """
import importlib, pkgutil
if "xdit_runtime" in {roots}:
    from xdit_runtime.engine import cpu
    cpu.install()  # no module imports xfuser before an engine has prepared it
for root in {roots}:
    for module in pkgutil.walk_packages(importlib.import_module(root).__path__, root + "."):
        if module.name not in {absent}:
            importlib.import_module(module.name)
            print(module.name)
"""
KERNELS = "xdit_runtime.engine.flux.kernels"
UNCOMPILED = """
import importlib.util, pathlib, sysconfig
for root in ("/opt/app", sysconfig.get_path("purelib")):
    for source in pathlib.Path(root).rglob("*.py"):
        cached = pathlib.Path(importlib.util.cache_from_source(source))
        stamp = cached.read_bytes()[8:12] if cached.exists() else b""
        if int.from_bytes(stamp, "little") != int(source.stat().st_mtime):
            try:
                compile(source.read_bytes(), source, "exec")
                print(source)
            except SyntaxError:  # torch has a file for later versions of Python only
                pass
"""


@pytest.mark.parametrize(("image", "limit"), [(OPERATOR, 290e6), (CPU, 1.7e9), (CUDA, 6e9)])
def test_size(image: str, limit: float) -> None:
    size = inspect(image)["Size"]
    print(f"{image}: {size / 1e6:.0f} MB")
    assert size < limit


@pytest.mark.parametrize(
    ("image", "user", "entrypoint"),
    [
        (OPERATOR, "65532:65532", ["xdit-operator"]),
        (CPU, "1000:1000", ["tini", "--", "xdit-worker"]),
        (CUDA, "1000:1000", ["tini", "--", "xdit-worker"]),
    ],
)
def test_starts_without_arguments_and_without_root(image: str, user: str, entrypoint: list[str]) -> None:
    config = inspect(image)["Config"]
    assert config["User"] == user
    assert config["Entrypoint"] + config["Cmd"] == [*entrypoint, "run"]


@pytest.mark.parametrize("image", RUNTIMES)
def test_a_stop_during_start_is_not_lost(image: str) -> None:
    """The kernel drops signals to a PID 1 without handlers: the pod would hold its GPUs for the whole grace period."""
    started = subprocess.run(
        ["docker", "run", "-d", "--network", "none", image], capture_output=True, text=True, check=True, timeout=60
    )
    container = started.stdout.strip()
    try:
        subprocess.run(["docker", "kill", "--signal", "TERM", container], capture_output=True, check=True, timeout=30)
        subprocess.run(["docker", "wait", container], capture_output=True, check=True, timeout=20)
    finally:
        subprocess.run(["docker", "rm", "-f", container], capture_output=True, check=True, timeout=60)


@pytest.mark.parametrize("image", [OPERATOR, CPU, CUDA])
def test_scripts_are_those_of_pyproject(image: str) -> None:
    package = {OPERATOR: "xdit_operator"}.get(image, "xdit_runtime")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    mine = {name: target for name, target in scripts.items() if target.startswith(package)}
    assert mine
    for name, target in mine.items():
        module, function = target.split(":")
        assert f"from {module} import {function}\n" in python(image, f"print(open('/opt/venv/bin/{name}').read())")


def test_operator_help() -> None:
    for arguments in (["--help"], ["run", "--help"]):
        ended = run(OPERATOR, *arguments, uid=None, memory=["/tmp"])
        assert ended.code == 0, ended.output
        assert "Usage" in ended.output


@pytest.mark.parametrize(
    ("image", "roots", "absent"),
    [
        (OPERATOR, ["xdit_api", "xdit_operator"], []),
        (CPU, ["xdit_api", "xdit_runtime"], [KERNELS]),  # triton is for GPUs
        (CUDA, ["xdit_api", "xdit_runtime"], []),
    ],
)
def test_every_module_can_be_imported(image: str, roots: list[str], absent: list[str]) -> None:
    found = python(image, IMPORT_ALL.format(roots=roots, absent=absent)).split()
    source = {"xdit_api": "crds", "xdit_operator": "operator", "xdit_runtime": "runtime"}
    files = {path for root in roots for path in (ROOT / source[root] / root).rglob("*.py") if path.name != "__init__.py"}
    assert {name.rpartition(".")[2] for name in (*found, *absent)} >= {path.stem for path in files}


@pytest.mark.parametrize("image", [OPERATOR, CPU, CUDA])
def test_nothing_is_compiled_at_start(image: str) -> None:
    assert python(image, UNCOMPILED) == ""


@pytest.mark.parametrize("image", RUNTIMES)
def test_an_unknown_user_has_a_name_and_tar(image: str) -> None:
    """torch asks for the user's name; kubectl cp, and whoever collects pictures, needs tar."""
    said = python(image, "import getpass, os, shutil; print(getpass.getuser(), os.getuid(), shutil.which('tar'))")
    assert said.split() == ["worker", str(STRANGER), "/usr/bin/tar"]


def test_the_cuda_image_compiles() -> None:
    """torch.compile has its compilers, headers and folders: the C++ that inductor makes for CPUs, the C that triton makes."""
    program = """
import torch
from triton.runtime.build import compile_module_from_src
compiled = torch.compile(lambda x: (x.sin() + 1).sum(), fullgraph=True)
x = torch.arange(1000.0)
assert torch.allclose(compiled(x), (x.sin() + 1).sum())
compile_module_from_src(
    '#include <Python.h>\\nstatic struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "hello", 0, -1, 0};'
    'PyMODINIT_FUNC PyInit_hello(void) { return PyModule_Create(&d); }', "hello")
"""
    python(CUDA, program)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    folder.chmod(0o777)
    ended = run(CPU, f"{MODEL_DIR}/tiny-flux", entrypoint="xdit-tiny-model", mounts={folder: str(MODEL_DIR)})
    assert ended.code == 0, ended.output
    return folder


def job(ulysses: int) -> Job:
    return Job.model_validate(
        {
            "apiVersion": API_VERSION, "name": "smoke", "uid": "0a1b2c3d-0000-4000-8000-000000000000", "device": "cpu",
            "gpus": ulysses, "gpusPerPod": ulysses, "degrees": {"ulysses": ulysses},
            "model": {"id": "xdit-dev/tiny-flux", "path": f"{MODEL_DIR}/tiny-flux", "dtype": "float32"},
            "prompts": {"path": str(JOB_FILE.with_name("prompts.jsonl")), "format": "jsonl"},
            "defaults": {"width": 128, "height": 128, "steps": 2},
            "output": {"path": f"{OUTPUT_DIR}/smoke", "volumePath": "smoke"},
        }
    )  # fmt: skip


def worker_environment(ranks: int) -> dict[str, str]:
    return {
        "XDIT_JOB": str(JOB_FILE), "XDIT_REPLICA": "0", "XDIT_ATTEMPT": "1", "POD_NAME": "smoke-0-0", "POD_UID": "feed5eed-0000",
        "MASTER_ADDR": "smoke-0-0.smoke", "MASTER_PORT": "29500", "NNODES": "1", "NODE_RANK": "0", "NPROC_PER_NODE": str(ranks),
    }  # fmt: skip


def pictures(image: str, ranks: int, model: Path, folder: Path) -> dict[str, npt.NDArray[np.int16]]:
    """Run a worker to the end of a job of two prompts; its pictures by prompt id."""
    inputs, output, termination = folder / "job", folder / "out", folder / "termination-log"
    inputs.mkdir(parents=True)
    (inputs / "job.json").write_text(json.dumps(job(ranks).dump()))
    (inputs / "prompts.jsonl").write_text('{"id": "cat", "prompt": "a cat"}\n{"id": "dog", "prompt": "a dog"}\n')
    output.mkdir()
    termination.touch()
    output.chmod(0o777)
    termination.chmod(0o666)
    ended = run(
        image,
        mounts={
            inputs: f"{JOB_FILE.parent}:ro",
            model: f"{MODEL_DIR}:ro",
            output: str(OUTPUT_DIR),
            termination: str(TERMINATION_LOG),
        },
        environment=worker_environment(ranks),
        memory=["/tmp", str(CACHE_DIR), str(LIFE_DIR)],
        timeout=240,
    )
    result = Result.decode(termination.read_text())
    assert ended.code == 0, (result, ended.output)
    assert result is not None, ended.output
    assert (result.outcome, result.exit_code) == ("drained", 0)
    assert result.counts == Counts(total=2, completed=2)
    images: dict[str, Any] = {}
    for name in ("cat", "dog"):
        with Image.open(output / "smoke/images" / f"{name}.png") as picture:
            picture.load()
            assert (picture.format, picture.size, picture.mode) == ("PNG", (128, 128), "RGB")
            images[name] = np.asarray(picture).astype(np.int16)
    return images


@pytest.mark.timeout(900)
@pytest.mark.parametrize("image", RUNTIMES)
def test_worker_runs_a_job(image: str, model: Path, tmp_path: Path) -> None:
    """One rank, then two in one container: the same pictures within a level, and a picture answers to its prompt."""
    one = pictures(image, 1, model, tmp_path / "one")
    two = pictures(image, 2, model, tmp_path / "two")
    for name, picture in one.items():
        assert np.abs(picture - two[name]).max() <= 1
    assert np.abs(one["cat"] - one["dog"]).mean() > 5
