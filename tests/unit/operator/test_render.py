"""Plan -> manifests: what users, Kubernetes and the worker rely on."""

import json
from typing import Any

import pytest

from tests.unit.operator.world import UID, source, spec
from xdit_api import pod
from xdit_api.job import Job
from xdit_operator.render import base, environment, placement, statefulset

MULTI = spec(gpus=16, replicas=2)


def template(**changes: Any) -> Any:
    return statefulset.render(source(spec(**changes)), 0, 0, True)["spec"]["template"]


def container(**changes: Any) -> Any:
    (only,) = template(**changes)["spec"]["containers"]
    return only


def test_statefulset() -> None:
    made = statefulset.render(source(MULTI), 1, 3, True)
    assert made["metadata"]["name"] == "posters-1"
    assert made["metadata"]["ownerReferences"] == [
        {"apiVersion": "xdit.dev/v1alpha1", "kind": "XDiTInference", "name": "posters", "uid": UID, "controller": True}
    ]
    of = made["spec"]
    assert (of["replicas"], of["serviceName"]) == (2, "posters")
    assert (of["podManagementPolicy"], of["updateStrategy"]) == ("Parallel", {"type": "OnDelete"})
    assert of["selector"]["matchLabels"] == {"xdit.dev/name": "posters", "xdit.dev/replica": "1"}
    labels = of["template"]["metadata"]["labels"]
    assert labels["xdit.dev/attempt"] == "3"
    assert labels["app.kubernetes.io/managed-by"] == "xdit-operator"
    assert of["selector"]["matchLabels"].items() <= labels.items()
    assert statefulset.render(source(MULTI), 1, 3, False)["spec"]["replicas"] == 0


def test_pod_is_restricted() -> None:
    made = template()["spec"]
    assert made["automountServiceAccountToken"] is False
    assert made["enableServiceLinks"] is False
    assert made["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert made["terminationGracePeriodSeconds"] == 120


def test_container_is_the_images_own_and_has_no_liveness_probe() -> None:
    made = container()
    assert made["name"] == "worker"
    assert made["image"] == "registry/runtime:1"
    assert made["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert made["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": 8080}
    assert not {"command", "args", "livenessProbe", "imagePullPolicy"} & set(made)
    assert container(worker={"image": "mine:2", "imagePullPolicy": "Always"})["image"] == "mine:2"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"limits": {"nvidia.com/gpu": 4}}),
        ({"gpuResource": "amd.com/gpu", "gpus": 2}, {"limits": {"amd.com/gpu": 2}}),
        ({"gpuResource": "none"}, {}),
        (
            {"worker": {"resources": {"limits": {"memory": "64Gi"}, "requests": {"cpu": 4}}}},
            {"limits": {"memory": "64Gi", "nvidia.com/gpu": 4}, "requests": {"cpu": 4}},
        ),
    ],
)
def test_resources(changes: Any, expected: Any) -> None:
    assert container(**changes)["resources"] == expected


def test_environment_starts_with_the_rendezvous() -> None:
    users = [{"name": "A", "value": "$(MASTER_ADDR)"}]
    env = environment.render(source(spec(gpus=16, worker={"env": users})), 1, 2)
    names = [variable["name"] for variable in env]
    rendezvous = ["MASTER_ADDR", "MASTER_PORT", "NNODES", "NODE_RANK", "NPROC_PER_NODE"]
    assert names[:10] == rendezvous + [f"PET_{name}" for name in rendezvous]
    assert names[10:] == ["XDIT_JOB", "XDIT_REPLICA", "XDIT_ATTEMPT", "POD_NAME", "POD_UID", "HF_HUB_OFFLINE", "A"]
    by = {variable["name"]: variable for variable in env}
    assert by["MASTER_ADDR"]["value"] == "posters-1-0.posters"
    assert (by["NNODES"]["value"], by["NPROC_PER_NODE"]["value"]) == ("2", "8")
    rank = {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}
    assert by["NODE_RANK"]["valueFrom"] == by["PET_NODE_RANK"]["valueFrom"] == rank
    assert (by["XDIT_JOB"]["value"], by["XDIT_REPLICA"]["value"], by["XDIT_ATTEMPT"]["value"]) == (str(pod.JOB_FILE), "1", "2")
    assert len(names) == len(set(names))


def test_no_variable_twice_when_a_user_sets_one_of_our_defaults() -> None:
    env = environment.render(source(spec(worker={"env": [{"name": "HF_HUB_OFFLINE", "value": "0"}]})), 0, 0)
    assert [v["value"] for v in env if v["name"] == "HF_HUB_OFFLINE"] == ["0"]


PROMPTS: list[Any] = [
    {"inline": [{"id": "a", "prompt": "x"}]},
    {"configMap": {"name": "p", "key": "p.jsonl"}},
    {"volume": {"claimName": "data", "path": "p.jsonl"}},
    {"volume": {"claimName": "pictures", "path": "p.jsonl"}},
    {"volume": {"claimName": "models", "path": "p.jsonl"}},
]


@pytest.mark.parametrize("prompts", PROMPTS)
def test_everything_that_is_mounted_is_a_volume_and_the_job_finds_it(prompts: Any) -> None:
    of = spec(prompts=prompts)
    made = statefulset.render(source(of), 0, 0, True)["spec"]["template"]["spec"]
    volumes = {v["name"]: v for v in made["volumes"]}
    mounts = {m["mountPath"]: m for m in made["containers"][0]["volumeMounts"]}
    assert len(volumes) == len(made["volumes"])
    assert {m["name"] for m in mounts.values()} == set(volumes)
    assert mounts["/models"]["readOnly"] is True
    assert "readOnly" not in mounts["/outputs"]
    claims = [v["persistentVolumeClaim"]["claimName"] for v in made["volumes"] if "persistentVolumeClaim" in v]
    assert len(claims) == len(set(claims)), "a claim is attached twice"
    for volume in volumes.values():
        claim = volume.get("persistentVolumeClaim", {})
        assert claim.get("readOnly", False) == (claim.get("claimName") in ("models", "data"))
    for path in ("/xdit/life", "/tmp", "/cache", "/dev/shm", "/xdit/job"):
        assert path in mounts
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}

    job = resolved(of)
    assert any(job.prompts.path.startswith(f"{path}/") for path in mounts)
    assert job.model.path == "/models/flux"
    assert job.output.path == "/outputs/posters"


def resolved(of: Any) -> Job:
    _, config_map, *_ = base(source(of))
    return Job.model_validate_json(config_map["data"]["job.json"])


def test_job_file_says_everything_that_was_decided() -> None:
    lora = {"name": "ink", "path": "ink.safetensors", "scale": 0.5}
    of = spec(
        gpus=8, gpusPerPod=4, stallSeconds=77, defaults={"width": 512, "seed": 1}, gpuResource="none",
        model={"id": "black-forest-labs/FLUX.1-dev", "source": {"pvc": {"claimName": "m"}}, "dtype": "float32", "loras": [lora]},
    )  # fmt: skip
    job = resolved(of)
    assert (job.name, job.namespace, job.uid) == ("posters", "studio", UID)
    assert (job.device, job.gpus, job.gpus_per_pod, job.pods, job.stall_seconds) == ("cpu", 8, 4, 2, 77)
    assert (job.degrees.ulysses, job.degrees.ring) == (8, 1)
    assert (job.model.dtype, job.model.loras[0].scale) == ("float32", 0.5)
    assert (job.defaults.width, job.defaults.seed, job.defaults.steps) == (512, 1, 28)
    assert job.output.volume_path == "posters"


@pytest.mark.parametrize(("seconds", "expected"), [(None, 110), (60, 50), (5, 1)])
def test_ranks_are_killed_before_the_kubelet_kills_the_pod(seconds: int | None, expected: int) -> None:
    of = spec() if seconds is None else spec(worker={"terminationGracePeriodSeconds": seconds})
    assert resolved(of).grace_seconds == expected


def test_the_job_says_what_bad_lines_do_and_where_images_may_be() -> None:
    volume = resolved(spec(prompts={"volume": {"claimName": "data", "path": "in/p.csv"}, "policy": "Skip"})).prompts
    assert (volume.path, volume.format, volume.policy, volume.root) == ("/xdit/prompts/in/p.csv", "csv", "Skip", "/xdit/prompts")
    inline = resolved(spec()).prompts
    assert (inline.policy, inline.root) == ("Fail", None)


def test_inline_prompts_travel_in_the_job_config_map() -> None:
    _, config_map, *_ = base(source(spec(prompts={"inline": [{"id": "a", "prompt": "ü\nx", "seed": 3}]})))
    (line,) = config_map["data"]["prompts.jsonl"].splitlines()
    assert json.loads(line) == {"id": "a", "prompt": "ü\nx", "seed": 3}
    _, other, *_ = base(source(spec(prompts=PROMPTS[1])))
    assert set(other["data"]) == {"job.json"}


def test_service_resolves_names_before_pods_are_ready() -> None:
    service, *_ = base(source())
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"].items() <= template()["metadata"]["labels"].items()


def test_network_policy_lets_in_the_group_the_operator_and_monitoring_and_out_the_group_and_dns() -> None:
    *_, policy = base(source())
    of = policy["spec"]
    group = of["podSelector"]
    assert group["matchLabels"].items() <= template()["metadata"]["labels"].items()
    assert of["policyTypes"] == ["Ingress", "Egress"]
    inside, http = of["ingress"]
    assert inside == {"from": [{"podSelector": group}]}
    namespaces = [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in http["from"]]
    assert namespaces == ["xdit-system", "monitoring"]
    assert http["from"][0]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "xdit-operator"}}
    assert http["ports"] == [{"protocol": "TCP", "port": 8080}]
    out, dns = of["egress"]
    assert out == {"to": [{"podSelector": group}]}
    assert {(p["protocol"], p["port"]) for p in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert [m["kind"] for m in base(source(spec(worker={"networkPolicy": False})))] == ["Service", "ConfigMap"]


def test_users_labels_and_annotations_do_not_replace_ours() -> None:
    labels = {"team": "art", "xdit.dev/attempt": "99", "app.kubernetes.io/managed-by": "me"}
    annotations = {"note": "x", "karpenter.sh/do-not-disrupt": "false"}
    made = template(worker={"podLabels": labels, "podAnnotations": annotations})["metadata"]
    assert made["labels"]["team"] == "art"
    assert (made["labels"]["xdit.dev/attempt"], made["labels"]["app.kubernetes.io/managed-by"]) == ("0", "xdit-operator")
    assert made["annotations"] == {
        "note": "x", "karpenter.sh/do-not-disrupt": "false", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    }  # fmt: skip


def test_worker_fields_that_are_passed_on() -> None:
    made = template(
        worker={
            "serviceAccountName": "sa", "imagePullSecrets": [{"name": "s"}], "terminationGracePeriodSeconds": 9,
            "securityContext": {"runAsUser": 7, "supplementalGroups": [5]},
        }
    )["spec"]  # fmt: skip
    assert made["serviceAccountName"] == "sa"
    assert made["imagePullSecrets"] == [{"name": "s"}]
    assert made["terminationGracePeriodSeconds"] == 9
    assert (made["securityContext"]["runAsUser"], made["securityContext"]["supplementalGroups"]) == (7, [5])
    assert made["securityContext"]["runAsNonRoot"] is True


def test_placement() -> None:
    affinity = {
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a"}]},
        "nodeAffinity": {"x": 1},
    }
    of = spec(
        scheduling={
            "schedulerName": "s", "priorityClassName": "p", "nodeSelector": {"a": "b"}, "affinity": affinity, "topologyKey": "zone",
            "tolerations": [{"key": "gpu", "operator": "Exists", "tolerationSeconds": 5}],
        }
    ).scheduling  # fmt: skip
    made = placement.render(of, {"g": "1"})
    assert made == {
        "schedulerName": "s", "priorityClassName": "p", "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "tolerationSeconds": 5}],
        "affinity": {
            "nodeAffinity": {"x": 1},
            "podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "a"}, {"labelSelector": {"matchLabels": {"g": "1"}}, "topologyKey": "zone"},
                ]
            },
        },
    }  # fmt: skip
    assert made == placement.render(of, {"g": "1"}), "rendering changed its input"
    assert placement.render(spec().scheduling, {}) == {}
