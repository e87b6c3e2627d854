"""The API server's audit log: who asked what of it. Metadata only; reads of Kubernetes' own components are left out (policy.yaml)."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CONTROL_PLANE = f"{os.environ.get('XDIT_CLUSTER') or 'xdit'}-control-plane"
PATH = "/var/log/kubernetes/audit/audit.log"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Request:
    """One answered request."""

    time: str
    user: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    user_agent: str

    @property
    def is_write(self) -> bool:
        """Does it change something, if it is allowed?"""
        return self.verb in WRITES


@dataclass(frozen=True)
class AuditLog:
    """The log of the control plane node `container`."""

    container: str = CONTROL_PLANE

    def mark(self) -> int:
        """The log's length now, in bytes."""
        return int(self._node("stat", "-c", "%s", PATH))

    def since(self, mark: int) -> Iterator[Request]:
        """Requests that were answered after `mark`, oldest first."""
        for line in self._node("tail", "-c", f"+{mark + 1}", PATH).splitlines():
            yield parse(json.loads(line))

    def _node(self, *command: str) -> str:
        return subprocess.run(
            ["docker", "exec", self.container, *command], capture_output=True, text=True, timeout=60, check=True
        ).stdout


def parse(event: Any) -> Request:
    """An audit.k8s.io/v1 Event."""
    target = event.get("objectRef", {})
    return Request(
        time=event["requestReceivedTimestamp"],
        user=event["user"]["username"],
        verb=event["verb"],
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        user_agent=event.get("userAgent", ""),
    )
