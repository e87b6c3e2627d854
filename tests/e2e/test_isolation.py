"""Workers run in a restricted namespace, without a token, and strangers cannot reach them."""

import json

import pytest

from tests.e2e.jobs import ended, job, tool_pod
from tests.support.kube import Kube

PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
    print("connected")
except OSError as error:
    print("refused or dropped:", type(error).__name__)
"""


def reaches(kube: Kube, pod: str, host: str, port: int) -> bool:
    return kube.run("exec", pod, "--", "python3", "-c", PROBE, host, str(port)).stdout.startswith("connected")


@pytest.mark.timeout(420)
def test_group_members_talk_and_strangers_do_not(workspace: Kube, namespace_factory: object) -> None:
    assert callable(namespace_factory)
    slow = job("guarded", gpus=2, gpusPerPod=1, parallelism={"ulysses": 2}, defaults={"width": 512, "height": 512, "steps": 200})
    # long enough to be looked at, and not waited for at the end
    slow["spec"]["worker"] = {**slow["spec"]["worker"], "terminationGracePeriodSeconds": 5}
    workspace.apply(slow)
    workspace.wait("xdit", "guarded", lambda r: r.get("status", {}).get("phase") == "Running", deadline=240)
    leader = workspace.get("pod", "guarded-0-0")
    address = leader["status"]["podIP"]
    assert reaches(workspace, "guarded-0-1", address, 8080)
    assert not reaches(workspace, "tools", address, 8080)
    stranger: Kube = namespace_factory("stranger")
    stranger.apply(tool_pod("probe", [], ["sleep", "600"]))
    stranger.run("wait", "--for=condition=Ready", "pod/probe", "--timeout=60s")
    assert not reaches(stranger, "probe", address, 8080)
    assert not reaches(stranger, "probe", address, 29500)
    # no way out either: the API server is outside of the group
    assert not reaches(workspace, "guarded-0-0", "kubernetes.default.svc", 443)

    container = leader["spec"]["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert leader["spec"]["automountServiceAccountToken"] is False
    assert "serviceaccount" not in json.dumps(container["volumeMounts"])
    labels = workspace.get("namespace", workspace.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    workspace.run("delete", "xdit", "guarded")
    workspace.wait_gone("pods", selector="xdit.dev/name=guarded", deadline=150)


@pytest.mark.timeout(420)
def test_a_finished_directory_is_not_drawn_again(workspace: Kube) -> None:
    """A second resource with the same output and prompts finds everything done, without starting torch."""
    first = job("first", output={"claimName": "pictures", "path": "again"})
    workspace.apply(first)
    assert workspace.wait("xdit", "first", ended, deadline=240)["status"]["phase"] == "Complete"
    second = job("second", output={"claimName": "pictures", "path": "again"})
    workspace.apply(second)
    status = workspace.wait("xdit", "second", ended, deadline=120)["status"]
    assert status["phase"] == "Complete"
    assert (status["progress"]["summary"], status["progress"]["skipped"]) == ("2/2", 2)
