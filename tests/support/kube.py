"""kubectl for tests: one namespace, JSON in and out, every wait with a deadline.

Only ever talks to the cluster of `tests/cluster/up`: the kubeconfig is XDIT_KUBECONFIG or the one that `up` writes, never the user's.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import yaml

from tests.support.audit import AuditLog, Request

CACHE = Path(os.environ.get("XDIT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xdit-operator")
CLUSTER = os.environ.get("XDIT_CLUSTER", "")
KUBECONFIG = Path(os.environ.get("XDIT_KUBECONFIG") or CACHE / ("kubeconfig" + f"-{CLUSTER}" * bool(CLUSTER)))
POLL_SECONDS = 0.25


class KubectlError(AssertionError):
    """kubectl ended with an error; the text is the command and its standard error."""


def kubectl_path() -> str:
    """The kubectl that `up` chose, which fits the cluster's version."""
    chosen = CACHE / "tools/kubectl"
    return str(chosen) if chosen.exists() else "kubectl"


@dataclass(frozen=True)
class Kube:
    """kubectl in one namespace. Methods raise KubectlError with kubectl's words, waits TimeoutError with what was seen last."""

    namespace: str

    @overload
    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120, binary: Literal[False] = False
    ) -> subprocess.CompletedProcess[str]: ...

    @overload
    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120, binary: Literal[True]
    ) -> subprocess.CompletedProcess[bytes]: ...

    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120, binary: bool = False
    ) -> subprocess.CompletedProcess[str] | subprocess.CompletedProcess[bytes]:
        """`kubectl ARGUMENTS` in the namespace; output as text, or as bytes with `binary`. With `check`, an error raises."""
        command = [kubectl_path(), "--kubeconfig", str(KUBECONFIG), "--namespace", self.namespace, *arguments]
        done = subprocess.run(command, input=stdin.encode() if stdin is not None else None, capture_output=True, timeout=timeout)
        if check and done.returncode != 0:
            raise KubectlError(
                f"kubectl {' '.join(arguments)}\n{done.stdout.decode(errors='replace')[-2000:]}{done.stderr.decode()}"
            )
        if binary:
            return done
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        return subprocess.CompletedProcess(command, done.returncode, out, err)

    def apply(self, resource: Any) -> Any:
        """`kubectl apply` of an object, a list of objects or YAML text; returns what the API server stored (a list for several)."""
        return self._store("apply", resource)

    def create(self, resource: Any) -> Any:
        """As `apply`, but what is there already is an error."""
        return self._store("create", resource)

    def _store(self, verb: str, resource: Any) -> Any:
        if isinstance(resource, str):
            text = resource
        else:
            text = yaml.safe_dump_all(resource if isinstance(resource, list) else [resource])
        stored = json.loads(self.run(verb, "-f", "-", "-o", "json", stdin=text).stdout)
        return stored["items"] if stored["kind"] == "List" else stored

    def get(self, kind: str, name: str) -> Any:
        """The object; it has to be there."""
        return json.loads(self.run("get", kind, name, "-o", "json").stdout)

    def find(self, kind: str, name: str) -> Any | None:
        """The object, or None when the API server says that there is none."""
        done = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def list(self, kind: str, selector: str = "") -> "Sequence[Any]":
        """All objects of that kind in the namespace, by name."""
        found: list[Any] = json.loads(self.run("get", kind, "--selector", selector, "-o", "json").stdout)["items"]
        return found

    def patch(self, kind: str, name: str, change: Any, subresource: str = "") -> Any:
        """A JSON merge patch, of `subresource` if given; returns the object."""
        more = ["--subresource", subresource] if subresource else []
        return json.loads(self.run("patch", kind, name, "--type=merge", "-p", json.dumps(change), "-o", "json", *more).stdout)

    def delete(self, kind: str, name: str, deadline: float = 60) -> None:
        """Delete and wait until it is gone. What is not there is fine."""
        self.run("delete", kind, name, "--ignore-not-found", f"--timeout={deadline:.0f}s", timeout=deadline + 15)

    def logs(self, pod: str, container: str = "", previous: bool = False) -> str:
        """What the container wrote; its life before this one with `previous`."""
        more = [*(["--container", container] if container else []), *(["--previous"] if previous else [])]
        return self.run("logs", pod, *more).stdout

    def exec(self, pod: str, *command: str, container: str = "") -> str:
        """Standard output of a command in a running pod."""
        more = ["--container", container] if container else []
        return self.run("exec", pod, *more, "--", *command).stdout

    def events(self, name: str) -> "Sequence[Any]":
        """Events about the object of that name, oldest first."""
        done = self.run(
            "get", "events", "--field-selector", f"involvedObject.name={name}", "--sort-by=.lastTimestamp", "-o", "json"
        )
        found: list[Any] = json.loads(done.stdout)["items"]
        return found

    def wait(self, kind: str, name: str, until: Callable[[Any], bool], deadline: float) -> Any:
        """The object as soon as `until(object)` holds. Raises TimeoutError after `deadline` seconds with the last status."""
        end = time.monotonic() + deadline
        while True:
            seen = self.find(kind, name)
            if seen is not None and until(seen):
                return seen
            if time.monotonic() > end:
                raise TimeoutError(f"{kind} {name}: not as expected after {deadline:.0f} s; last seen:\n{_short(seen)}")
            time.sleep(POLL_SECONDS)

    def wait_all(self, kind: str, selector: str, until: "Callable[[Sequence[Any]], bool]", deadline: float) -> "Sequence[Any]":
        """As `wait`, over the list of objects with these labels."""
        end = time.monotonic() + deadline
        while True:
            seen = self.list(kind, selector)
            if until(seen):
                return seen
            if time.monotonic() > end:
                shown = "\n".join(_short(each) for each in seen) or "none"
                raise TimeoutError(f"{kind} {selector}: not as expected after {deadline:.0f} s; last seen:\n{shown}")
            time.sleep(POLL_SECONDS)

    def wait_ready(self, *pods: str, deadline: float = 60) -> None:
        """Until all these pods are Ready."""
        for pod in pods:
            self.wait("pod", pod, ready, deadline)

    def wait_gone(self, kind: str, name: str = "", selector: str = "", deadline: float = 60) -> None:
        """Until the object of that name, or every object with these labels, is gone."""
        if name:
            end = time.monotonic() + deadline
            while (seen := self.find(kind, name)) is not None:
                if time.monotonic() > end:
                    raise TimeoutError(f"{kind} {name} is still there after {deadline:.0f} s:\n{_short(seen)}")
                time.sleep(POLL_SECONDS)
        else:
            self.wait_all(kind, selector, lambda found: not found, deadline)

    def audit_mark(self) -> int:
        """A place in the API server's audit log; `writes` and `requests` look at what came after it."""
        return AuditLog().mark()

    def requests(self, since: int, user: str = "") -> "Sequence[Request]":
        """What was asked of the API server in this namespace since the mark, by that user (or by anyone)."""
        return [r for r in AuditLog().since(since) if r.namespace == self.namespace and user in ("", r.user)]

    def writes(self, since: int, user: str = "") -> "Sequence[Request]":
        """As `requests`, only what changes something."""
        return [r for r in self.requests(since, user) if r.is_write]


def ready(pod: Any) -> bool:
    """Is the pod's Ready condition True?"""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def succeeded(pod: Any) -> bool:
    """Did all containers of the pod end with 0?"""
    return bool(pod.get("status", {}).get("phase") == "Succeeded")


def _short(seen: Any) -> str:
    if seen is None:
        return "it does not exist"
    kept = {"name": seen["metadata"]["name"], "status": seen.get("status", {})}
    return yaml.safe_dump(kept, sort_keys=False, width=130)[:4000]
