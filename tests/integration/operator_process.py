"""The operator under test: the one installed in the cluster, or else this checkout as a process of this machine."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.kube import KUBECONFIG, Kube

SYSTEM = Kube("xdit-system")
NAME = "xdit-operator"


@dataclass
class Operator:
    """Starts, restarts and names the operator. `user` is who it is in the API server's audit log."""

    in_cluster: bool
    log: Path
    port: int = 18099
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def user(self) -> str:
        return "system:serviceaccount:xdit-system:xdit-operator" if self.in_cluster else "kubernetes-admin"

    def start(self) -> None:
        if self.in_cluster:
            SYSTEM.run("rollout", "status", f"deployment/{NAME}", "--timeout=60s")
            return
        environment = {**os.environ, "KUBECONFIG": str(KUBECONFIG)}
        command = [str(Path(sys.executable).parent / "xdit-operator"), "run", "--worker-image", "xdit-standin:dev"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--probe-port", str(self.port)], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        self._wait_ready()

    def stop(self) -> None:
        """Until it is really gone."""
        if self.in_cluster:
            SYSTEM.run("scale", f"deployment/{NAME}", "--replicas=0")
            SYSTEM.wait_gone("pods", selector=f"app.kubernetes.io/name={NAME}", deadline=60)
        elif self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(20) == 0, self.log.read_text()[-3000:]
            self.process = None

    def resume(self) -> None:
        """After `stop`."""
        if self.in_cluster:
            SYSTEM.run("scale", f"deployment/{NAME}", "--replicas=1")
        self.start()

    def _wait_ready(self) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise TimeoutError(f"the operator is not ready after 30 s\n{self.log.read_text()[-3000:]}")
