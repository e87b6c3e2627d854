"""The cluster really does what the other tests rest on. Each test would fail on a cluster that only looks healthy."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.audit import Request
from tests.support.kube import Kube, KubectlError, ready, succeeded
from tests.support.nodes import fake_gpus, nodes
from tests.support.pods import claim, pod, pod_spec

SCRIPTS = Path(__file__).parent
SLEEP = ["sleep", "3600"]
SERVER = [
    "python3",
    "-uc",
    """
import os, socket
server = socket.create_server(("", 29500))
while True:
    peer, _ = server.accept()
    peer.sendall(("hello from " + os.environ["HOSTNAME"]).encode())
    peer.close()
""",
]
CLIENT = """
import socket, sys
try:
    print(socket.create_connection((sys.argv[1], 29500), 2).recv(99).decode())
except OSError as error:
    print("failed:", type(error).__name__)
"""


def ask(kube: Kube, client: str, server: str) -> str:
    """What the server says to that pod, or `failed: …`."""
    return kube.exec(client, "python3", "-c", CLIENT, server).strip()


def served(kube: Kube, client: str, server: str) -> Callable[[], bool]:
    """A probe: does the server talk to that pod?"""
    return lambda: ask(kube, client, server).startswith("hello from ")


def shut_out(kube: Kube, client: str, server: str) -> Callable[[], bool]:
    """A probe: is that pod refused, or left without an answer? The network plugins differ."""
    return lambda: ask(kube, client, server).startswith("failed: ")


def until(probe: Callable[[], bool], deadline: float, what: str) -> None:
    end = time.monotonic() + deadline
    while not probe():
        assert time.monotonic() < end, f"{what}: not within {deadline:.0f} s"
        time.sleep(0.3)


@pytest.fixture(scope="module", autouse=True)
def image(python_image: str) -> str:
    return python_image


def test_every_node_takes_pods_and_there_are_two(kube: Kube) -> None:
    names = nodes(kube)
    assert len(names) >= 2
    kube.apply([pod(f"on-{name}", ["true"], node=name) for name in names])
    for name in names:
        kube.wait("pod", f"on-{name}", succeeded, deadline=60)


def test_shared_volume_is_one_folder_on_all_nodes_and_writable_by_anyone(kube: Kube) -> None:
    writer, reader = list(nodes(kube))[:2]
    read_back = "until cat /pictures/sub/file 2> /dev/null; do sleep 0.2; done; rm /pictures/sub/file"
    kube.apply(
        [
            claim("pictures"),
            pod(
                "writer",
                ["sh", "-c", "mkdir /pictures/sub && echo from-the-other-node > /pictures/sub/file"],
                claims=["pictures"],
                node=writer,
            ),
            pod("reader", ["sh", "-c", read_back], claims=["pictures"], node=reader),
        ]
    )
    assert kube.wait("pod", "reader", succeeded, deadline=60)["spec"]["nodeName"] == reader
    assert kube.wait("pod", "writer", succeeded, deadline=60)["spec"]["nodeName"] == writer
    assert kube.logs("reader") == "from-the-other-node\n"


def test_shared_volumes_are_apart_and_their_folders_go_with_them(kube: Kube) -> None:
    kube.apply([claim("one"), claim("two")])
    bound = [kube.wait("pvc", name, lambda c: c["status"].get("phase") == "Bound", deadline=60) for name in ("one", "two")]
    volumes = [kube.get("pv", c["spec"]["volumeName"]) for c in bound]
    paths = {volume["spec"]["hostPath"]["path"] for volume in volumes}
    assert len(paths) == 2
    kube.delete("pvc", "one")
    kube.wait_gone("pv", volumes[0]["metadata"]["name"], deadline=60)
    left = subprocess.run(["docker", "exec", nodes(kube)[0], "ls", "-d", *paths], capture_output=True, text=True, check=False)
    assert left.stdout.split() == [volumes[1]["spec"]["hostPath"]["path"]]


def test_default_storage_class_binds_at_the_first_consumer(kube: Kube) -> None:
    kube.apply(claim("scratch", storage_class=None, mode="ReadWriteOnce"))
    kube.apply(pod("user", ["sh", "-c", "echo 1 > /scratch/file"], claims=["scratch"]))
    kube.wait("pod", "user", succeeded, deadline=60)
    assert kube.get("pvc", "scratch")["status"]["phase"] == "Bound"


def test_pods_of_a_statefulset_find_each_other_by_name_before_they_are_ready(kube: Kube) -> None:
    labels = {"app": "peers"}
    spec = pod_spec(SERVER)
    spec["containers"][0]["readinessProbe"] = {"exec": {"command": ["false"]}}
    spec["affinity"] = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
            ]
        }
    }
    kube.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "peers"},
                "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": labels, "ports": [{"port": 29500}]},
            },
            {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "metadata": {"name": "peers"},
                "spec": {
                    "serviceName": "peers",
                    "replicas": 2,
                    "podManagementPolicy": "Parallel",
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": spec},
                },
            },
        ]
    )
    for name in ("peers-0", "peers-1"):
        kube.wait("pod", name, lambda p: p["status"].get("phase") == "Running", deadline=60)
    # CoreDNS may have been asked too early and remember for some seconds that there is no such name
    until(lambda: ask(kube, "peers-1", "peers-0.peers") == "hello from peers-0", 30, "peers-1 reaches peers-0")
    until(lambda: ask(kube, "peers-0", "peers-1.peers") == "hello from peers-1", 30, "peers-0 reaches peers-1")
    found = [kube.get("pod", name) for name in ("peers-0", "peers-1")]
    assert len({p["spec"]["nodeName"] for p in found}) == 2
    assert not any(ready(p) for p in found)


def policy(**spec: Any) -> Any:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "guard"},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, **spec},
    }


def test_network_policy_lets_friends_in_and_nobody_else(kube: Kube) -> None:
    one, other = list(nodes(kube))[:2]
    kube.apply(
        [
            pod("server", SERVER, labels={"app": "server"}, node=one),
            # a policy has to hold between nodes and inside of one
            pod("friend", SLEEP, labels={"role": "friend"}, node=other),
            pod("stranger-far", SLEEP, node=other),
            pod("stranger-near", SLEEP, node=one),
        ]
    )
    kube.wait_ready("server", "friend", "stranger-far", "stranger-near")
    address = kube.get("pod", "server")["status"]["podIP"]
    clients = ("friend", "stranger-far", "stranger-near")
    for client in clients:
        until(served(kube, client, address), 20, f"{client} without a policy")
    friends = {"podSelector": {"matchLabels": {"role": "friend"}}}
    kube.apply(policy(policyTypes=["Ingress"], ingress=[{"from": [friends]}]))
    for client in clients[1:]:
        until(shut_out(kube, client, address), 30, f"{client} is kept out")
    assert ask(kube, "friend", address) == "hello from server"


def test_network_policy_keeps_pods_from_going_out(kube: Kube) -> None:
    kube.apply([pod("server", SERVER, labels={"app": "target"}), pod("client", SLEEP, labels={"app": "server"})])
    kube.wait_ready("server", "client")
    address = kube.get("pod", "server")["status"]["podIP"]
    until(served(kube, "client", address), 20, "without a policy")
    kube.apply(policy(policyTypes=["Egress"], egress=[]))
    until(shut_out(kube, "client", address), 30, "no way out")
    kube.delete("networkpolicy", "guard")
    until(served(kube, "client", address), 30, "the policy is gone")


@pytest.fixture
def gpu_node(kube: Kube) -> Iterator[str]:
    """A node that says it has 4 GPUs, during the test."""
    name = nodes(kube)[-1]
    before = int(kube.get("node", name)["status"]["capacity"].get("nvidia.com/gpu", 0))
    fake_gpus(kube, name, 4)
    yield name
    fake_gpus(kube, name, before)


def test_pretended_gpus_are_counted_by_the_scheduler(kube: Kube, gpu_node: str) -> None:
    for name, count in (("fits", 3), ("too-many", 2)):
        kube.apply(pod(name, SLEEP, resources={"limits": {"nvidia.com/gpu": count}}))
        if name == "fits":
            kube.wait_ready("fits")
    assert kube.get("pod", "fits")["spec"]["nodeName"] == gpu_node

    def refused(seen: Any) -> bool:
        return any("Insufficient nvidia.com/gpu" in c.get("message", "") for c in seen["status"].get("conditions", []))

    assert kube.wait("pod", "too-many", refused, deadline=30)["status"]["phase"] == "Pending"
    kube.delete("pod", "fits")
    kube.wait_ready("too-many")


def test_pod_security_refuses_root(kube: Kube) -> None:
    root = pod("root", SLEEP)
    root["spec"]["securityContext"] = {}
    with pytest.raises(KubectlError, match=r"violates PodSecurity.*runAsNonRoot"):
        kube.apply(root)
    assert kube.find("pod", "root") is None


def test_audit_log_tells_who_wrote_what(kube: Kube) -> None:
    before = kube.audit_mark()
    kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "noted"}})
    kube.get("configmap", "noted")

    def mine() -> list[Request]:
        return [r for r in kube.requests(since=before, user="kubernetes-admin") if r.name == "noted"]

    # the line is written when the answer has gone out
    until(lambda: len(mine()) == 2, 5, "two requests in the audit log")
    create, get = mine()
    assert (create.verb, create.resource, create.code, create.is_write) == ("create", "configmaps", 201, True)
    assert (get.verb, get.is_write) == ("get", False)
    assert [r.verb for r in kube.writes(since=before, user="kubernetes-admin")] == ["create"]
    assert [r for r in kube.writes(since=kube.audit_mark()) if r.name == "noted"] == []


def test_diagnostics_hold_what_happened(kube: Kube, tmp_path: Path) -> None:
    kube.apply(pod("talker", ["sh", "-c", "echo spoken; exit 3"]))
    kube.wait("pod", "talker", lambda p: p["status"].get("phase") == "Failed", deadline=60)
    subprocess.run([SCRIPTS / "diagnostics", kube.namespace, tmp_path], check=True, capture_output=True, timeout=90)
    assert (tmp_path / "logs/talker.main.log").read_text() == "spoken\n"
    assert "Exit Code:    3" in (tmp_path / "describe.txt").read_text()
    assert "talker" in (tmp_path / "events.txt").read_text()
    assert "name: talker" in (tmp_path / "objects.yaml").read_text()


def test_diagnostics_of_a_namespace_that_is_not_there_do_not_fail(tmp_path: Path) -> None:
    subprocess.run([SCRIPTS / "diagnostics", "no-such-namespace", tmp_path], check=True, capture_output=True, timeout=90)
    assert "Ready" in (tmp_path / "nodes.txt").read_text()


def test_load_brings_a_changed_image_under_the_same_name(kube: Kube, image: str) -> None:
    name = "local/load-test:1"

    def build_and_load(content: str) -> str:
        recipe = f"FROM {image}\nRUN echo {content} > /content\n"
        subprocess.run(
            ["docker", "build", "-q", "-t", name, "-"], input=recipe.encode(), check=True, capture_output=True, timeout=60
        )
        return subprocess.run([SCRIPTS / "load", name], check=True, capture_output=True, text=True, timeout=120).stderr

    try:
        for content in ("first", "second"):
            assert "layers were missing" in build_and_load(content)
            for node in nodes(kube):
                kube.apply(pod(f"{content}-{node}", ["cat", "/content"], image=name, node=node))
            for node in nodes(kube):
                kube.wait("pod", f"{content}-{node}", succeeded, deadline=60)
                assert kube.logs(f"{content}-{node}") == f"{content}\n"
        assert "on every node already" in build_and_load("second")
    finally:
        for node in nodes(kube):
            subprocess.run(["docker", "exec", node, "crictl", "rmi", name], check=False, capture_output=True, timeout=60)
        subprocess.run(["docker", "rmi", name], check=False, capture_output=True, timeout=60)
