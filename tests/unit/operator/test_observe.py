"""Caches -> snapshot, and what the caches themselves promise."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.world import UID, result
from xdit_operator import observe, ownership
from xdit_operator.cache import Cache, Caches

LABELS = {"xdit.dev/name": "posters", "xdit.dev/replica": "0", "xdit.dev/attempt": "2"}


def owned(uid: str, kind: str = "XDiTInference", name: str = "posters") -> list[Any]:
    return [{"apiVersion": "xdit.dev/v1alpha1", "kind": kind, "name": name, "uid": uid, "controller": True}]


def statefulset(uid: str = "set-0", owner: str = UID, name: str = "posters-0", **more: Any) -> Any:
    return {
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {
            "name": name, "namespace": "studio", "uid": uid, "labels": LABELS, "resourceVersion": "5",
            "ownerReferences": owned(owner), **more,
        },
        "spec": {"replicas": 1, "template": {"metadata": {"labels": LABELS}}},
    }  # fmt: skip


def pod(owner: str = "set-0", name: str = "posters-0-0", status: Any = None, **spec: Any) -> Any:
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "studio", "uid": f"uid-{name}-{owner}", "labels": LABELS, "resourceVersion": "6",
            "ownerReferences": owned(owner, "StatefulSet", "posters-0"),
        },
        "spec": spec, "status": status or {},
    }  # fmt: skip


def caches(*objects: Any) -> Caches:
    made = Caches()
    for obj in objects:
        (made.pods if obj["kind"] == "Pod" else made.statefulsets).put(obj)
    return made


def groups(*objects: Any) -> tuple[observe.Group, ...]:
    return observe.groups(caches(*objects), "studio", "posters", UID)


def test_pods_count_only_through_the_chain_of_owners() -> None:
    (found,) = groups(statefulset(), pod(), pod("another-set", "posters-0-1"))
    assert [p.name for p in found.pods] == ["posters-0-0"]
    assert (found.replica, found.attempt, found.wanted, found.up) == (0, 2, 1, True)
    assert groups(statefulset(owner="earlier"), pod()) == ()
    assert groups(statefulset(name="posters-7"), pod()) == (), "the label and the name disagree"


def terminated(code: int, message: str = "", reason: str = "Error") -> Any:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": "2026-11-21T11:59:00Z"}}


def container(**states: Any) -> Any:
    return {"containerStatuses": [{"name": "sidecar", "state": terminated(9)}, {"name": "worker", "image": "i:1", **states}]}


def read(status: Any, **spec: Any) -> observe.Pod:
    return observe.read_pod(pod(status=status, **spec), UID)


def test_the_first_lifes_end_is_the_one_that_counts() -> None:
    said = result("failed", 66, "InvalidModel", "x").encode()
    for states in ({"state": terminated(66, said)}, {"state": {"running": {}}, "lastState": terminated(66, said)}):
        found = read(container(**states)).end
        assert found is not None
        assert found.result is not None
        assert (found.exit_code, found.result.reason) == (66, "InvalidModel")
    both = read(container(state=terminated(0), lastState=terminated(66, said))).end
    assert both is not None
    assert both.exit_code == 66
    assert read(container(state={"running": {}})).end is None


def test_a_report_for_another_resource_is_none() -> None:
    foreign = result().model_copy(update={"job_uid": "other"}).encode()
    for message in (foreign, "Traceback", ""):
        found = read(container(state=terminated(0, message))).end
        assert found is not None
        assert found.result is None


@pytest.mark.parametrize(
    ("reason", "message", "expected"),
    [
        ("ContainerCreating", "", None),
        ("CrashLoopBackOff", "back-off", None),
        ("CreateContainerConfigError", 'secret "x" not found', ("CreateContainerConfigError", 'secret "x" not found')),
        ("ErrImagePull", "10.0.0.1:53: not found", ("ImagePullBackOff", "image i:1 cannot be pulled: no such image")),
        (
            "ImagePullBackOff",
            'Back-off pulling image "i:1": ErrImagePull: 10.0.0.2:99: not found',
            ("ImagePullBackOff", "image i:1 cannot be pulled: no such image"),
        ),
        ("ErrImagePull", "dial tcp: i/o timeout", ("ImagePullBackOff", "image i:1 cannot be pulled")),
    ],
)
def test_why_a_pod_waits(reason: str, message: str, expected: Any) -> None:
    assert read(container(state={"waiting": {"reason": reason, "message": message}})).waiting == expected


def test_the_scheduler_speaks_first() -> None:
    status = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]}
    assert read(status).waiting == ("Unschedulable", "0/3 nodes")
    assert not read(status).holds
    assert read({"phase": "Running"}, nodeName="n").holds
    assert not read({"phase": "Failed"}, nodeName="n").holds


def test_unreadable_status_is_an_empty_one() -> None:
    assert observe.read_status({"status": {"gpus": "many"}}).gpus == 0


# --- cache -----------------------------------------------------------------------------------------------------------


def thing(name: str = "a", version: int = 1, uid: str = "u", owner: str = "posters", namespace: str = "studio") -> Any:
    labels = {"xdit.dev/name": owner} if owner else {}
    metadata = {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": str(version), "labels": labels}
    return {"metadata": {**metadata, "managedFields": ["long"]}}


def test_the_cache_is_never_older_than_our_own_write() -> None:
    cache = Cache()
    assert cache.put(thing(version=10))
    assert not cache.put(thing(version=9)), "a late watch event came through"
    assert cache.put(thing(version=10))
    assert cache.get(("studio", "a"))["metadata"]["resourceVersion"] == "10"  # type: ignore[index]
    assert "managedFields" not in cache.get(("studio", "a"))["metadata"]  # type: ignore[index]


def test_a_deletion_concerns_one_uid() -> None:
    cache = Cache()
    cache.put(thing(uid="new", version=5))
    assert not cache.drop(("studio", "a"), "old")
    assert cache.drop(("studio", "a"), "new")
    assert cache.of(("studio", "posters")) == []


def test_a_list_replaces_what_it_is_newer_than() -> None:
    cache = Cache()
    for obj in (thing("gone", 5), thing("made-later", 30), thing("kept", 6), thing("elsewhere", 5, namespace="other")):
        cache.put(obj)
    assert cache.replace([thing("kept", 6), thing("new", 7)], "20", "studio") == {("studio", "gone")}
    assert {obj["metadata"]["name"] for obj in cache} == {"made-later", "kept", "new", "elsewhere"}
    assert cache.replace([], "40", None) == {
        ("studio", "made-later"),
        ("studio", "kept"),
        ("studio", "new"),
        ("other", "elsewhere"),
    }
    assert len(cache) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.sampled_from(["x", "y", ""]), st.booleans())))
def test_the_index_by_owner_agrees_with_the_objects(steps: list[tuple[str, int, str, bool]]) -> None:
    cache = Cache()
    for name, version, owner, drop in steps:
        if drop:
            cache.drop(("studio", name), "u")
        else:
            cache.put(thing(name, version, owner=owner))
        for each in ("x", "y"):
            expected = [o for o in cache if o["metadata"]["labels"].get("xdit.dev/name") == each]
            assert sorted(map(str, cache.of(("studio", each)))) == sorted(map(str, expected))


# --- ownership -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (statefulset(), None),
        (statefulset(deletionTimestamp="2026-11-21T11:00:00Z"), "WaitingForCleanup"),
        (statefulset(owner="earlier"), "WaitingForCleanup"),
        (statefulset() | {"metadata": {"name": "posters-0", "ownerReferences": owned("x", "Other")}}, "NameTaken"),
        (statefulset() | {"metadata": {"name": "posters-0", "ownerReferences": owned("x", name="other")}}, "NameTaken"),
        (statefulset() | {"metadata": {"name": "posters-0"}}, "NameTaken"),
    ],
)
def test_whose_object_is_it(live: Any, expected: str | None) -> None:
    found = ownership.conflict(live, "posters", UID)
    assert (found.reason if found else None) == expected
    if found is not None:
        assert found.waiting == (expected == "WaitingForCleanup")
        assert "StatefulSet posters-0" in found.message
