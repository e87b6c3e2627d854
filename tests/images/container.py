"""Containers the way a careful cluster runs them: read-only root, no network, no capabilities, a uid that the image does not know."""

import json
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STRANGER = 12345
"""A uid without an entry in any image's /etc/passwd."""


@dataclass(frozen=True)
class Ended:
    """A container that ended."""

    code: int
    output: str
    """stdout and stderr together."""


def run(
    image: str,
    *command: str,
    entrypoint: str | None = None,
    uid: int | None = STRANGER,
    mounts: Mapping[Path, str] | None = None,
    environment: Mapping[str, str] | None = None,
    memory: Sequence[str] = ("/tmp", "/cache"),
    timeout: float = 120,
) -> Ended:
    """Run `image` to its end.

    mounts: folders and files of this machine and where they go, ":ro" included. memory: folders in memory, which emptyDirs
    are on a cluster. uid: None for the image's own. Raises subprocess.TimeoutExpired after `timeout` seconds, with the
    container removed.
    """
    name = f"xdit-test-{uuid.uuid4().hex[:12]}"
    arguments = ["docker", "run", "--rm", "--name", name, "--read-only", "--network", "none", "--cap-drop", "ALL"]
    arguments += ["--security-opt", "no-new-privileges", "--shm-size", "256m"]
    if uid is not None:
        arguments += ["--user", str(uid)]
    for folder in memory:
        arguments += ["--tmpfs", f"{folder}:exec,mode=1777"]
    for source, target in (mounts or {}).items():
        arguments += ["-v", f"{source}:{target}"]
    for key, value in (environment or {}).items():
        arguments += ["-e", f"{key}={value}"]
    if entrypoint is not None:
        arguments += ["--entrypoint", entrypoint]
    try:
        done = subprocess.run(
            [*arguments, image, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True, timeout=60, check=False)
        raise
    return Ended(done.returncode, done.stdout)


def python(image: str, program: str, **options: Any) -> str:
    """What `program` prints inside `image`; an assertion fails with its output when it does not end well."""
    ended = run(image, "-c", program, entrypoint="python", **options)
    assert ended.code == 0, ended.output
    return ended.output


def inspect(image: str) -> dict[str, Any]:
    """Docker's description of `image`, which has to exist: `tests/images/build all` makes it."""
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{image} is not there: run tests/images/build all\n{done.stderr}"
    described: dict[str, Any] = json.loads(done.stdout)[0]
    return described
