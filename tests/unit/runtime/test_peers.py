"""Connections between supervisors, over real sockets in one process."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from xdit_runtime import network
from xdit_runtime.peers import Peers, wait_together

GROUP = {"job": "u", "replica": 0, "attempt": 3, "pods": 3}
Make = Callable[..., Peers]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Peers] = []
    port = network.free_port()

    def one(rank: int, group: Any = GROUP, pods: int = 3, dead: float = 0.5) -> Peers:
        peers = Peers(group, rank, pods, "127.0.0.1", port, f"pod-{rank}", lambda _text: None, dead)
        peers.port = port  # type: ignore[attr-defined]
        peers.start()
        made.append(peers)
        return peers

    yield one
    for peers in made:
        peers.close("done", "")


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def connected(make: Make, dead: float = 10) -> list[Peers]:
    # followers first: they must wait for pod 0
    peers = [make(rank, dead=dead) for rank in (1, 2, 0)]
    assert all(wait_together(p, 10, lambda: False) for p in peers)
    return [peers[2], peers[0], peers[1]]


def dial(leader: Any) -> socket.socket:
    """A connection to pod 0, once it listens."""

    def attempt() -> socket.socket | None:
        try:
            return socket.create_connection(("127.0.0.1", leader.port), 5)
        except ConnectionRefusedError:
            return None

    connection: socket.socket = until(attempt)
    return connection


def test_nobody_goes_before_all_are_there(make: Make) -> None:
    leader, first = make(0, dead=10), make(1, dead=10)
    assert not wait_together(leader, 1.5, lambda: False)
    assert not first.together
    assert leader.problem == "waiting for pod-2"
    second = make(2, dead=10)
    assert all(wait_together(p, 10, lambda: False) for p in (leader, first, second))


def test_a_failure_reaches_everybody_through_pod_0(make: Make) -> None:
    leader, first, second = connected(make)
    first.close("failed", "CudaError: bad")
    assert until(lambda: leader.lost) == "pod pod-1 failed: CudaError: bad"
    leader.close("failed", "PeerLost: pod pod-1 failed")
    assert until(lambda: second.lost) == "pod pod-0 failed: PeerLost: pod pod-1 failed"


def test_a_crash_is_told_as_such(make: Make) -> None:
    leader, first, second = connected(make)
    first.close("failed", "WorkerFailed: rank 1 was killed by signal 11 (SIGSEGV)", crashed=True)
    until(lambda: leader.lost)
    assert leader.crashed
    assert not second.crashed


def test_a_pod_may_be_late(make: Make) -> None:
    """Later than any silence that is allowed once they are together."""
    leader, first = make(0, dead=3), make(1, dead=3)
    time.sleep(3.5)
    assert (leader.lost, first.lost) == (None, None)
    second = make(2, dead=3)
    assert all(wait_together(p, 10, lambda: False) for p in (leader, first, second))


def test_ends_without_failure_are_no_loss(make: Make) -> None:
    leader, first, second = connected(make)
    first.close("done", "")
    leader.close("done", "")
    time.sleep(0.3)
    assert (leader.lost, second.lost) == (None, None)


def test_a_pod_that_goes_silent_is_lost(make: Make) -> None:
    """Beats come every 2 s, so to a leader with half a second of patience its follower seems frozen."""
    leader = make(0, pods=2)
    # patient: were it to give up first, the leader would see a closed connection
    follower = make(1, pods=2, dead=3)
    assert wait_together(follower, 10, lambda: False)
    assert "has not been heard of for 0.5 s" in until(lambda: leader.lost)
    assert "pod-0" in until(lambda: follower.lost)


def test_a_pod_that_is_cut_off_is_lost(make: Make) -> None:
    leader = make(0, pods=2, dead=10)
    with dial(leader) as raw:
        raw.sendall(json.dumps({"kind": "hello", "group": GROUP, "rank": 1, "name": "raw"}).encode() + b"\n")
        assert b"welcome" in raw.recv(1000)
        assert wait_together(leader, 5, lambda: False)
    assert until(lambda: leader.lost).startswith(("pod raw closed its connection", "the connection to pod raw broke"))


def test_a_pod_of_another_attempt_is_not_taken_for_a_peer(make: Make) -> None:
    leader = make(0, pods=2, dead=10)
    old = make(1, group={**GROUP, "attempt": 2}, pods=2, dead=10)
    until(lambda: "another attempt" in old.problem)
    assert not leader.together
    new = make(1, pods=2, dead=10)
    assert wait_together(new, 10, lambda: False)
    assert leader.lost is None


def test_noise_on_the_port_does_no_harm(make: Make) -> None:
    leader = make(0, pods=2, dead=10)
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"{}\n", b"[1]\n", b"\xff\xfe\n", b'{"rank": 1, "name": "x", "group": 5}\n', b""):
        with dial(leader) as raw:
            raw.sendall(noise)
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(5)
            raw.recv(1000)
    follower = make(1, pods=2, dead=10)
    assert wait_together(follower, 10, lambda: False)
    assert leader.lost is None


def test_waiting_ends_when_asked_to(make: Make) -> None:
    leader = make(0)
    began = time.monotonic()
    assert not wait_together(leader, 100, lambda: True)
    assert time.monotonic() - began < 2
