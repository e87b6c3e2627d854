"""What goes wrong: what is retried, what is not, and what `kubectl describe` says about it."""

import time
from typing import Any

from tests.integration.jobs import condition, ended, job, no_pods, phase, pods, stalled, status
from tests.support.kube import Kube

CONFIG = {"configMap": {"name": "prompts", "key": "p.jsonl"}}


def config_map(text: str, key: str = "p.jsonl") -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompts"}, "data": {key: text}}


def test_permanent_failure_ends_the_job_at_once(studio: Kube) -> None:
    message = "/models has no model_index.json"
    studio.apply(job(standin={"fail": {"code": 66, "reason": "InvalidModel", "message": message}}))
    seen = studio.wait("xdit", "posters", ended, deadline=60)
    assert phase("Failed")(seen)
    for kind in ("Failed", "Stalled"):
        assert condition(seen, kind)["status"] == "True"
        assert condition(seen, kind)["reason"] == "InvalidModel"
        assert message in condition(seen, kind)["message"]
    assert condition(seen, "Reconciling")["status"] == condition(seen, "Complete")["status"] == "False"
    first = status(seen)["firstFailure"]
    assert (first["pod"], first["exitCode"], first["reason"], first["message"]) == ("posters-0-0", 66, "InvalidModel", message)
    assert first["logPath"].startswith("posters/.xdit/logs/0-0-posters-0-0")
    assert first["node"]
    assert status(seen)["restarts"] == 0
    no_pods(studio)
    time.sleep(3)
    assert pods(studio) == []
    assert message in studio.run("describe", "xdit", "posters").stdout
    # terminal is terminal: nothing brings it back
    studio.patch("xdit", "posters", {"spec": {"backoffLimit": 9}})
    studio.wait("xdit", "posters", lambda r: status(r)["observedGeneration"] == r["metadata"]["generation"], deadline=40)
    assert phase("Failed")(studio.get("xdit", "posters"))
    assert pods(studio) == []


def test_retryable_failure_restarts_the_whole_group(studio: Kube) -> None:
    fail = {"code": 80, "reason": "CudaError", "message": "device-side assert", "attempts": 1, "after": 2}
    studio.apply(job(gpus=2, gpusPerPod=1, images=6, standin={"fail": fail}))
    seen = studio.wait("xdit", "posters", phase("Restarting"), deadline=60)
    replica = status(seen)["replicas"][0]
    assert (replica["attempt"], replica["restarts"]) == (1, 1)
    assert "CudaError: device-side assert" in condition(seen, "Ready")["message"]
    # no pod, hence no GPU, while the backoff lasts
    again = studio.wait("pod", "posters-0-0", lambda p: p["metadata"]["labels"]["xdit.dev/attempt"] == "1", deadline=60)
    assert again["metadata"]["creationTimestamp"] >= replica["nextRestartTime"]
    done = studio.wait("xdit", "posters", ended, deadline=90)
    assert phase("Complete")(done)
    assert status(done)["restarts"] == 1
    assert status(done)["progress"]["summary"] == "6/6"
    first = status(done)["firstFailure"]
    # the follower said PeerLost; the cause is the leader's
    assert (first["reason"], first["pod"], first["exitCode"]) == ("CudaError", "posters-0-0", 80)
    reasons = [event["reason"] for event in studio.events("posters")]
    assert reasons.count("GroupRestart") == 1


def test_backoff_limit(studio: Kube) -> None:
    fail = {"code": 1, "reason": "WorkerFailed", "message": "boom"}
    studio.apply(job(backoffLimit=1, standin={"fail": fail, "silent": True}))
    seen = studio.wait("xdit", "posters", ended, deadline=90)
    assert phase("Failed")(seen)
    assert condition(seen, "Failed")["reason"] == "BackoffLimitExceeded"
    assert "restarted 1 times (backoffLimit 1)" in condition(seen, "Failed")["message"]
    # no result was written: the log's tail is the message
    assert "boom" in status(seen)["firstFailure"]["message"]
    no_pods(studio)


def test_active_deadline(studio: Kube) -> None:
    studio.apply(job(activeDeadlineSeconds=12, standin={"hold": True}))
    seen = studio.wait("xdit", "posters", ended, deadline=60)
    assert condition(seen, "Failed")["reason"] == "DeadlineExceeded"
    no_pods(studio)


def test_missing_config_map_is_waited_for(studio: Kube) -> None:
    studio.apply(job(prompts=CONFIG))
    seen = studio.wait("xdit", "posters", stalled("MissingConfigMap"), deadline=40)
    text = condition(seen, "Stalled")["message"]
    assert f'ConfigMap "prompts" for the prompts does not exist in namespace {studio.namespace}' in text
    assert "it is looked at again every 15 s" in text
    assert studio.list("statefulsets", "") == []
    studio.apply(config_map('{"id": "a", "prompt": "x"}\n{"id": "b", "prompt": "y"}\n'))
    done = studio.wait("xdit", "posters", ended, deadline=60)
    assert status(done)["progress"]["summary"] == "2/2"


def test_bad_lines_are_named_before_any_pod(studio: Kube) -> None:
    studio.apply(config_map('{"id": "a", "prompt": "x"}\n{"id": "A", "prompt": "y"}\n{oops\n'))
    studio.apply(job(prompts=CONFIG))
    seen = studio.wait("xdit", "posters", stalled("InvalidPrompts"), deadline=40)
    text = condition(seen, "Stalled")["message"]
    for part in ("ConfigMap prompts, key p.jsonl: 2 bad lines", "line 2: id 'A' is used on line 1 already", "line 3: not JSON"):
        assert part in text
    assert studio.list("statefulsets", "") == []
    studio.apply(config_map('{"id": "a", "prompt": "x"}\n'))
    assert phase("Complete")(studio.wait("xdit", "posters", ended, deadline=60))


def test_missing_claim_is_waited_for(studio: Kube) -> None:
    studio.apply(job(output={"claimName": "elsewhere"}))
    seen = studio.wait("xdit", "posters", stalled("MissingPVC"), deadline=40)
    assert 'PersistentVolumeClaim "elsewhere" for the output does not exist' in condition(seen, "Stalled")["message"]
    assert studio.list("statefulsets", "") == []


def test_impossible_plan_says_what_would_work(studio: Kube) -> None:
    studio.apply(job(gpus=3, parallelism={"ulysses": 3}))
    seen = studio.wait("xdit", "posters", stalled("InvalidPlan"), deadline=40)
    assert "ulysses 3 does not divide the 4 attention heads; use one of 1, 2, 4" in condition(seen, "Stalled")["message"]
    assert studio.list("statefulsets", "") == []


def test_sizes_in_a_config_map_are_part_of_the_plan(studio: Kube) -> None:
    studio.apply(config_map('{"id": "a", "prompt": "x", "height": 80}\n'))
    studio.apply(job(gpus=2, gpusPerPod=1, prompts=CONFIG))
    seen = studio.wait("xdit", "posters", stalled("InvalidPlan"), deadline=40)
    assert "height 80 (1024x80) cannot be split over 2 ranks" in condition(seen, "Stalled")["message"]
    assert studio.list("statefulsets", "") == []
    studio.apply(config_map('{"id": "a", "prompt": "x", "height": 96}\n'))
    assert phase("Complete")(studio.wait("xdit", "posters", ended, deadline=60))


def test_what_is_not_supported_is_said(studio: Kube) -> None:
    studio.apply(job(output={"create": {"size": "1Gi"}}))
    seen = studio.wait("xdit", "posters", stalled("NotSupported"), deadline=40)
    assert condition(seen, "Stalled")["message"].startswith("spec.output.create is not supported by this version")


def test_a_name_that_is_taken_is_never_touched(studio: Kube) -> None:
    mine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "posters-job"}, "data": {"mine": "1"}}
    before = studio.apply(mine)
    studio.apply(job())
    seen = studio.wait("xdit", "posters", stalled("NameTaken"), deadline=40)
    assert "ConfigMap posters-job is needed but was made by somebody else" in condition(seen, "Stalled")["message"]
    after = studio.get("configmap", "posters-job")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert studio.list("statefulsets", "") == []
    studio.run("delete", "configmap", "posters-job")
    assert phase("Complete")(studio.wait("xdit", "posters", ended, deadline=60))


def test_no_room_says_what_the_scheduler_says(studio: Kube) -> None:
    studio.apply(job(gpuResource="example.com/none-such"))
    seen = studio.wait("xdit", "posters", lambda r: condition(r, "Ready").get("reason") == "WaitingForGPUs", deadline=60)
    assert "nodes are available" in condition(seen, "Ready")["message"]
    assert "Insufficient example.com/none-such" in condition(seen, "Ready")["message"]
    assert condition(seen, "Reconciling")["status"] == "True"
    assert status(seen)["gpus"] == 0


def test_quota_is_said_in_the_servers_words(studio: Kube) -> None:
    studio.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})
    studio.apply(job())
    seen = studio.wait("xdit", "posters", lambda r: condition(r, "Ready").get("reason") == "QuotaExceeded", deadline=60)
    assert "exceeded quota: none" in condition(seen, "Ready")["message"]


def test_an_image_that_is_not_there(studio: Kube) -> None:
    worker = job()["spec"]["worker"] | {"image": "registry.invalid/nothing:1"}
    studio.apply(job(worker=worker))
    seen = studio.wait("xdit", "posters", lambda r: condition(r, "Ready").get("reason") == "ImagePullBackOff", deadline=60)
    assert "registry.invalid/nothing:1 cannot be pulled" in condition(seen, "Ready")["message"]


def test_a_refused_child_is_said_in_the_servers_words(studio: Kube) -> None:
    bad: dict[str, Any] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    studio.apply(job(scheduling={"affinity": bad}))
    seen = studio.wait("xdit", "posters", stalled("Refused"), deadline=20)
    assert "the API server refuses StatefulSet posters-0" in condition(seen, "Stalled")["message"]
    assert "nodeSelectorTerms" in condition(seen, "Stalled")["message"]
