"""A job from apply to the last image, and what the world may do to it meanwhile."""

import time

import pytest

from tests.integration.jobs import condition, ended, job, no_pods, phase, pods, status
from tests.integration.operator_process import Operator
from tests.integration.rest import CHILDREN, children, settled
from tests.support.kube import Kube


def test_a_job_from_apply_to_complete(studio: Kube) -> None:
    studio.apply(job(gpus=2, gpusPerPod=1, replicas=2, images=20, standin={"seconds": 0.3}))
    running = studio.wait("xdit", "posters", phase("Running"), deadline=60)
    assert status(running)["plan"]["summary"] == "2 replicas x 2 pods x 1 GPU: ulysses 2"
    assert condition(running, "Reconciling")["status"] == "True"
    assert condition(running, "Ready")["reason"] == "Generating"
    made = children(studio)
    assert set(made) == {
        "statefulsets/posters-0", "statefulsets/posters-1", "services/posters", "configmaps/posters-job", "networkpolicies/posters",
    }  # fmt: skip
    for child in made.values():
        owner = child["metadata"]["ownerReferences"][0]
        assert (owner["uid"], owner["controller"]) == (running["metadata"]["uid"], True)
        assert "finalizers" not in child["metadata"]
    assert "finalizers" not in running["metadata"]
    assert set(running["metadata"].get("annotations", {})) == {"kubectl.kubernetes.io/last-applied-configuration"}

    # what users wait with; both ways end at once
    studio.run("wait", "xdit/posters", "--for=condition=Complete", "--timeout=90s")
    studio.run("wait", "xdit/posters", "--for=jsonpath={.status.completionTime}", "--timeout=5s")
    done = studio.get("xdit", "posters")
    assert status(done)["phase"] == "Complete"
    assert condition(done, "Ready") | {"status": "True", "reason": "AllImagesWritten"} == condition(done, "Ready")
    assert condition(done, "Reconciling")["status"] == condition(done, "Stalled")["status"] == "False"
    assert status(done)["progress"]["summary"] == "20/20"
    assert status(done)["observedGeneration"] == done["metadata"]["generation"]

    # GPUs are given back; the Service and the rest stay for `kubectl describe`
    no_pods(studio)
    gone = studio.wait("xdit", "posters", lambda r: status(r)["gpus"] == 0, deadline=40)
    assert ended(gone)
    assert set(children(studio)) == set(made)
    reasons = [event["reason"] for event in studio.events("posters")]
    for reason in ("Started", "Generating", "AllImagesWritten"):
        assert reasons.count(reason) == 1, reasons


def test_progress_is_shown(studio: Kube, operator: Operator) -> None:
    if not operator.in_cluster:
        pytest.fail("progress needs the operator in the cluster: pods let nobody else ask them; run `make deploy`")
    studio.apply(job(images=60, standin={"seconds": 0.5}))
    some = studio.wait("xdit", "posters", lambda r: 0 < status(r).get("progress", {}).get("completed", 0) < 60, deadline=60)
    progress = status(some)["progress"]
    assert progress["total"] == 60
    assert progress["secondsPerImage"] == "0.50"
    assert progress["imagesPerHour"] == 7200
    assert progress["etaSeconds"] == round((60 - progress["completed"]) * 0.5)
    table = studio.run("get", "xdit", "posters").stdout
    assert f"{progress['completed']}/60" in table or "/60" in table
    later = studio.wait("xdit", "posters", lambda r: status(r)["progress"]["completed"] > progress["completed"], deadline=60)
    assert phase("Running")(later)


def test_converged_means_no_writes(studio: Kube, operator: Operator) -> None:
    studio.apply(job(standin={"hold": True}))
    studio.wait("xdit", "posters", phase("Running"), deadline=60)
    settled(studio, quiet=8)
    mark = studio.audit_mark()
    time.sleep(20)
    assert studio.writes(mark, operator.user) == []


def test_complete_means_no_writes_at_all(studio: Kube, operator: Operator) -> None:
    studio.apply(job())
    studio.wait("xdit", "posters", ended, deadline=60)
    no_pods(studio)
    settled(studio)
    mark = studio.audit_mark()
    time.sleep(20)
    assert studio.writes(mark, operator.user) == []


def test_what_others_change_is_put_right(studio: Kube) -> None:
    studio.apply(job(standin={"hold": True}))
    studio.wait("xdit", "posters", phase("Running"), deadline=60)
    studio.run("scale", "statefulset/posters-0", "--replicas=3")
    studio.wait("statefulset", "posters-0", lambda s: s["spec"]["replicas"] == 1, deadline=40)
    studio.wait_all("pods", "xdit.dev/name=posters", lambda found: len(found) == 1, deadline=60)
    studio.run("scale", "statefulset/posters-0", "--replicas=0")
    studio.wait("statefulset", "posters-0", lambda s: s["spec"]["replicas"] == 1, deadline=40)
    old = studio.get("statefulset", "posters-0")["metadata"]["uid"]
    studio.run("delete", "statefulset", "posters-0", "--wait=false")
    studio.wait("statefulset", "posters-0", lambda s: s["metadata"]["uid"] != old, deadline=60)
    studio.wait("xdit", "posters", phase("Running"), deadline=60)
    # a lost label is no deletion: the object is ours by its owner, and the label comes back
    studio.run("label", "statefulset", "posters-0", "app.kubernetes.io/managed-by-")
    studio.wait("statefulset", "posters-0", lambda s: "app.kubernetes.io/managed-by" in s["metadata"]["labels"], deadline=40)


def test_suspend_and_resume(studio: Kube) -> None:
    studio.apply(job(images=30, standin={"seconds": 0.3}))
    studio.wait("xdit", "posters", phase("Running"), deadline=60)
    studio.patch("xdit", "posters", {"spec": {"suspend": True}})
    resting = studio.wait("xdit", "posters", phase("Suspended"), deadline=40)
    assert condition(resting, "Suspended")["status"] == "True"
    assert condition(resting, "Ready")["status"] == condition(resting, "Reconciling")["status"] == "False"
    no_pods(studio)
    studio.wait("xdit", "posters", lambda r: status(r)["gpus"] == 0, deadline=40)
    time.sleep(2)
    assert pods(studio) == []
    studio.patch("xdit", "posters", {"spec": {"suspend": False}})
    done = studio.wait("xdit", "posters", ended, deadline=90)
    assert phase("Complete")(done)
    assert status(done)["restarts"] == 0
    assert status(done)["progress"]["summary"] == "30/30"


def test_a_job_that_is_created_suspended_starts_nothing(studio: Kube) -> None:
    studio.apply(job(suspend=True))
    studio.wait("xdit", "posters", phase("Suspended"), deadline=40)
    time.sleep(2)
    assert studio.list("statefulsets", "") == []


def test_delete_and_create_again_under_the_same_name(studio: Kube) -> None:
    first = studio.apply(job(standin={"hold": True}))
    studio.wait("xdit", "posters", phase("Running"), deadline=60)
    studio.run("delete", "xdit", "posters", "--timeout=20s")
    second = studio.apply(job())
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    done = studio.wait("xdit", "posters", ended, deadline=120)
    assert phase("Complete")(done)
    for child in children(studio).values():
        assert child["metadata"]["ownerReferences"][0]["uid"] == second["metadata"]["uid"]
    studio.run("delete", "xdit", "posters", "--timeout=20s")
    studio.wait_all("statefulsets", "", lambda found: not found, deadline=60)
    for kind in CHILDREN:
        studio.wait_gone(kind, selector="app.kubernetes.io/managed-by=xdit-operator", deadline=60)
    assert {c["metadata"]["name"] for c in studio.list("pvc", "")} == {"models", "pictures"}


def test_replicas_may_change_while_it_runs(studio: Kube) -> None:
    studio.apply(job(standin={"hold": True}))
    studio.wait("xdit", "posters", phase("Running"), deadline=60)
    studio.patch("xdit", "posters", {"spec": {"replicas": 2}})
    studio.wait_ready("posters-1-0")
    studio.patch("xdit", "posters", {"spec": {"replicas": 1}})
    studio.wait_gone("statefulset", "posters-1", deadline=60)
    left = studio.wait("xdit", "posters", lambda r: len(status(r)["replicas"]) == 1, deadline=40)
    assert phase("Running")(left)


def test_idle_replica_gives_its_gpus_back_alone(studio: Kube) -> None:
    studio.apply(job(images=30, replicas=2, standin={"seconds": 0.4, "idle": 1}))
    studio.wait("statefulset", "posters-1", lambda s: s["spec"]["replicas"] == 0, deadline=60)
    seen = studio.wait("xdit", "posters", lambda r: status(r)["replicas"][1]["phase"] == "Idle", deadline=40)
    assert not ended(seen)
    done = studio.wait("xdit", "posters", ended, deadline=60)
    assert phase("Complete")(done)
    assert status(done)["restarts"] == 0


def test_if_all_are_idle_replica_0_looks_again(studio: Kube) -> None:
    studio.apply(job(standin={"idle": 0}))
    again = studio.wait("xdit", "posters", lambda r: status(r).get("replicas", [{}])[0].get("attempt") == 1, deadline=60)
    assert status(again)["replicas"][0]["phase"] == "Restarting"
    assert status(again)["restarts"] == 0
    pod = studio.wait("pod", "posters-0-0", lambda p: p["metadata"]["labels"]["xdit.dev/attempt"] == "1", deadline=40)
    assert pod["metadata"]["labels"]["xdit.dev/name"] == "posters"
