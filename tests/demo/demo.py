"""`make demo`: apply a sample to the running cluster, follow it, and bring the pictures to ./demo-output.

Uses kubectl and nothing of the project's own code: what it does, a user can do.
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "manifests/samples/demo"
NAMESPACE = "xdit-demo"
NAME = "posters"
READER = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "reader"},
    "spec": {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "reader",
                "image": "xdit-runtime:cpu-dev",
                "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "600"],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "pictures", "mountPath": "/outputs", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "pictures", "persistentVolumeClaim": {"claimName": "pictures", "readOnly": True}}],
    },
}


class DemoError(Exception):
    """Something that the user has to know; the text says what."""


def kubectl(*arguments: str, stdin: str | None = None, timeout: float = 120) -> bytes:
    """Run kubectl in the demo's namespace. Raises DemoError with kubectl's own words."""
    command = ["kubectl", "--namespace", NAMESPACE, *arguments]
    try:
        done = subprocess.run(command, input=stdin.encode() if stdin else None, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"{' '.join(command)} did not answer within {timeout:.0f} s") from error
    if done.returncode != 0:
        raise DemoError(f"{' '.join(command)}:\n{done.stderr.decode().strip()}")
    return done.stdout


def condition(resource: Any, kind: str) -> Any:
    """The condition of that type, or an empty object."""
    return next((c for c in resource.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def follow(console: Console, deadline: float) -> Any:
    """Show the job's progress until it ends; returns the resource. Raises DemoError when time runs out."""
    columns = (
        TextColumn("{task.fields[phase]:<10}"), BarColumn(), MofNCompleteColumn(), TextColumn("images"),
        TimeElapsedColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    until = time.monotonic() + deadline
    said = ""
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(NAME, total=None, phase="Pending", note="")
        while time.monotonic() < until:
            resource = json.loads(kubectl("get", "xdit", NAME, "-o", "json"))
            status = resource.get("status", {})
            progress = status.get("progress", {})
            phase, message = status.get("phase", "Pending"), condition(resource, "Ready").get("message", "")
            rate = f"{progress['secondsPerImage']} s/image, {progress['eta']} left" if progress.get("eta") else ""
            bar.update(task, total=progress.get("total"), completed=progress.get("completed", 0), phase=phase, note=rate)
            if message and message != said and not console.is_terminal:
                console.print(f"{phase}: {message}")
            said = message
            if status.get("completionTime"):
                return resource
            time.sleep(1)
    raise DemoError(f"the job did not end within {deadline:.0f} s; look at: kubectl -n {NAMESPACE} describe xdit {NAME}")


def fetch(target: Path) -> int:
    """Copy the output directory out of the cluster through a pod that can only read it; returns the number of pictures."""
    kubectl("apply", "-f", "-", stdin=json.dumps(READER))
    try:
        kubectl("wait", "--for=condition=Ready", "pod/reader", "--timeout=60s")
        packed = kubectl("exec", "reader", "--", "tar", "-C", f"/outputs/{NAME}", "-c", ".", timeout=300)
    finally:
        kubectl("delete", "pod", "reader", "--wait=false", "--ignore-not-found")
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(target, filter="data")
    return len(list((target / "images").glob("*.png")))


def run(console: Console, target: Path) -> None:
    """The whole demo. Raises DemoError."""
    console.print("[bold]1. Applying[/] manifests/samples/demo: two volumes, 16 prompts, a Job that makes a tiny FLUX")
    # pictures of an earlier demo would be found and not be made again
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s", timeout=200)
    kubectl("apply", "-k", str(SAMPLE))
    kubectl("wait", "--for=condition=Complete", "job/tiny-flux", "--timeout=180s", timeout=200)
    console.print("[bold]2. Drawing[/] manifests/samples/demo/posters.yaml: 2 replicas of 2 pods, Ulysses 2 across pods, on CPU")
    kubectl("apply", "-f", str(SAMPLE / "posters.yaml"))
    resource = follow(console, deadline=600)
    console.print(kubectl("get", "xdit").decode(), end="", highlight=False)
    if condition(resource, "Complete").get("status") != "True":
        raise DemoError(f"the job failed: {condition(resource, 'Failed').get('message', 'no message')}")
    console.print(f"[bold]3. Fetching[/] the pictures to {target}")
    count = fetch(target)
    console.print(f"\n[bold green]{count} pictures[/] are in {target / 'images'}")
    console.print(f"Gallery:   {target / 'index.html'}  (opens from disk)")
    console.print(f"Manifest:  {target / 'manifest.jsonl'}  (prompt, seed, size, time and sha256 of each)")
    console.print(f"Look on:   kubectl -n {NAMESPACE} describe xdit {NAME}")
    console.print("Clean up:  make cluster-down")


def main() -> int:
    """0 when the pictures are there; 1 with one clear text otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "demo-output", help="where the pictures go (default: ./demo-output)"
    )
    target = parser.parse_args().output
    console = Console()
    try:
        run(console, target)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
