"""Runs of the real `xdit-fetch` against the local hub: each a process of its own, forked after the imports."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tests.unit.runtime.fetch.models import REPO, REVISION

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.unit.runtime.fetch.warm"])


@dataclass(frozen=True)
class Ended:
    code: int | None
    output: str
    result: dict[str, Any]


@dataclass(frozen=True)
class Run:
    process: ForkServerProcess
    folder: Path

    def signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def said(self, text: str) -> bool:
        """True when the output so far has it."""
        output = self.folder / "output"
        return output.exists() and text in output.read_text()

    def end(self, timeout: float = 120) -> Ended:
        self.process.join(timeout)
        assert self.process.exitcode is not None, "it does not end"
        result = self.folder / "result"
        text = result.read_text() if result.exists() else "{}"
        return Ended(self.process.exitcode, (self.folder / "output").read_text(), json.loads(text))


def _command(url: str, cache: Path, repo: str, revision: str, more: tuple[str, ...]) -> list[str]:
    return ["--repo", repo, "--revision", revision, "--to", str(cache), "--endpoint", url, *more]


def _child(arguments: list[str], folder: Path, env: dict[str, str], umask: int) -> None:
    from xdit_runtime.fetch.main import main

    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(env)
    os.umask(umask)
    sys.exit(main(arguments))


def start(url: str, cache: Path, *more: str, repo: str = REPO, revision: str = REVISION, umask: int = 0o022, **env: str) -> Run:
    folder = cache.parent / f"run-{time.monotonic_ns()}"
    folder.mkdir()
    env["XDIT_TERMINATION_LOG"] = str(folder / "result")
    process = _CONTEXT.Process(target=_child, args=(_command(url, cache, repo, revision, more), folder, env, umask))
    process.start()
    return Run(process, folder)


def run(url: str, cache: Path, *more: str, repo: str = REPO, revision: str = REVISION, umask: int = 0o022, **env: str) -> Ended:
    return start(url, cache, *more, repo=repo, revision=revision, umask=umask, **env).end()


def run_as_in_the_image(url: str, cache: Path, *more: str) -> Ended:
    """A fresh interpreter with the variables of the worker image, which keep every library offline."""
    result = cache.parent / "termination"
    image = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HOME": str(cache / "hf"), "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", "import sys; from xdit_runtime.fetch.main import main; sys.exit(main())"]
    ended = subprocess.run(
        [*command, *_command(url, cache, REPO, REVISION, more)],
        env=os.environ | image | {"XDIT_TERMINATION_LOG": str(result)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, json.loads(result.read_text()))


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def model(cache: Path, repo: str = REPO, revision: str = REVISION) -> Path:
    return cache / f"models--{repo.replace('/', '--')}" / revision


def tree(directory: Path) -> dict[str, bytes]:
    """Contents of all files by path, without the manifest."""
    found = {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    found.pop(".xdit-fetch.json", None)
    return found
