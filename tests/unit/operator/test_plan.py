"""Spec -> plan: degrees, pods, paths; or the sentence that says what would work."""

from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.world import planned, spec
from xdit_operator import plan
from xdit_operator.plan import Plan, largest_divisor
from xdit_operator.problem import Problem

UNKNOWN = {"id": "somebody/new-model", "source": {"pvc": {"claimName": "models"}}}


@pytest.mark.parametrize(
    ("changes", "degrees", "pods", "summary"),
    [
        ({"gpus": 1}, (1, 1, 1), 1, "1 replica x 1 pod x 1 GPU: one GPU"),
        ({"gpus": 4}, (1, 4, 1), 1, "1 replica x 1 pod x 4 GPUs: ulysses 4"),
        ({"gpus": 8, "replicas": 2}, (1, 8, 1), 1, "2 replicas x 1 pod x 8 GPUs: ulysses 8"),
        ({"gpus": 16}, (1, 8, 2), 2, "1 replica x 2 pods x 8 GPUs: ulysses 8 x ring 2"),
        ({"gpus": 5}, (1, 1, 5), 1, "1 replica x 1 pod x 5 GPUs: ring 5"),
        ({"gpus": 2, "gpusPerPod": 1, "replicas": 2}, (1, 2, 1), 2, "2 replicas x 2 pods x 1 GPU: ulysses 2"),
        ({"gpus": 4, "parallelism": {"ulysses": 2, "ring": 2}}, (1, 2, 2), 1, "1 replica x 1 pod x 4 GPUs: ulysses 2 x ring 2"),
        ({"gpus": 4, "parallelism": {"data": 4}}, (4, 1, 1), 1, "1 replica x 1 pod x 4 GPUs: 4 lanes of one GPU"),
        ({"gpus": 4, "parallelism": {}}, (1, 4, 1), 1, "1 replica x 1 pod x 4 GPUs: ulysses 4"),
        ({"gpus": 4, "parallelism": {"warmupSteps": 2}}, (1, 4, 1), 1, "1 replica x 1 pod x 4 GPUs: ulysses 4"),
        ({"gpus": 2, "parallelism": {"ulysses": 2}, "model": UNKNOWN}, (1, 2, 1), 1, "1 replica x 1 pod x 2 GPUs: ulysses 2"),
        ({"gpus": 1, "model": UNKNOWN}, (1, 1, 1), 1, "1 replica x 1 pod x 1 GPU: one GPU"),
    ],
)  # fmt: skip
def test_plans(changes: Any, degrees: tuple[int, int, int], pods: int, summary: str) -> None:
    made = planned(spec(**changes))
    assert (made.degrees.lanes, made.degrees.ulysses, made.degrees.ring) == degrees
    assert made.pods == pods
    assert made.summary == summary


@pytest.mark.parametrize(
    ("changes", "sizes", "words"),
    [
        (
            {"gpus": 5, "parallelism": {"ulysses": 5}},
            [],
            ["ulysses 5 does not divide the 24 attention heads", "use one of 1, 2, 3"],
        ),
        ({"gpus": 2, "parallelism": {"cfg": 2}}, [], ["cfg 2 is not available for flux models"]),
        ({"gpus": 4}, [(1024, 80)], ["height 80", "multiple of 64"]),
        ({"gpus": 4, "model": UNKNOWN}, [], ["not in the catalogue", "set spec.parallelism", "ulysses: 4"]),
        ({"gpus": 4, "parallelism": {"ulysses": 2}}, [], ["is 2, but spec.gpus is 4"]),
    ],
)
def test_refusals_say_what_would_work(changes: Any, sizes: Any, words: list[str]) -> None:
    made = plan.make(spec(**changes), "posters", sizes)
    assert isinstance(made, Problem)
    assert (made.reason, made.waiting) == ("InvalidPlan", False)
    for word in words:
        assert word in made.message


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"model": {"id": "a/b", "source": {"image": {"reference": "r/x@sha256:1"}}}}, "spec.model.source.image"),
        (
            {"model": {"id": "a/b", "source": {"huggingFace": {"revision": "a" * 40, "cache": {"claimName": "m"}}}}},
            "spec.model.source.huggingFace",
        ),
        ({"output": {"create": {"size": "1Gi"}}}, "spec.output.create"),
        ({"scheduling": {"queueName": "q"}}, "spec.scheduling.queueName"),
        ({"scheduling": {"forceDeleteAfterSeconds": 60}}, "spec.scheduling.forceDeleteAfterSeconds"),
    ],
)
def test_what_would_have_no_effect_is_refused(changes: Any, path: str) -> None:
    made = plan.make(spec(**changes), "posters", [])
    assert isinstance(made, Problem)
    assert made.reason == "NotSupported"
    assert made.message.startswith(f"{path} is not supported by this version of the operator: ")


@given(gpus=st.integers(1, 256), replicas=st.integers(1, 64))
def test_product_of_degrees_is_the_number_of_gpus(gpus: int, replicas: int) -> None:
    made = planned(spec(gpus=gpus, replicas=replicas))
    d = made.degrees
    assert prod((d.lanes, d.cfg, d.ulysses, d.ring, d.pipefusion)) == gpus
    assert made.pods * made.gpus_per_pod == gpus
    assert made.gpus_per_pod <= 8
    assert 24 % d.ulysses == 0
    assert made == planned(spec(gpus=gpus, replicas=replicas))


@given(number=st.integers(1, 256), limit=st.integers(1, 16))
def test_largest_divisor(number: int, limit: int) -> None:
    found = largest_divisor(number, limit)
    assert found == max(d for d in range(1, limit + 1) if number % d == 0)


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({}, ("/models/flux", "/xdit/job/prompts.jsonl", "jsonl", "/outputs/posters", "posters")),
        (
            {"prompts": {"configMap": {"name": "p", "key": "a.txt"}}, "output": {"claimName": "o", "path": "x/y"}},
            ("/models/flux", "/xdit/prompts/a.txt", "txt", "/outputs/x/y", "x/y"),
        ),
        (
            {
                "prompts": {"volume": {"claimName": "d", "path": "in/p.csv"}},
                "model": {"id": "black-forest-labs/FLUX.1-dev", "source": {"pvc": {"claimName": "m"}}},
            },
            ("/models", "/xdit/prompts/in/p.csv", "csv", "/outputs/posters", "posters"),
        ),
    ],
)
def test_paths(changes: Any, paths: Any) -> None:
    made = planned(spec(**changes))
    found = (str(made.model_path), str(made.prompts_path), made.prompts_format, str(made.output_path), made.volume_path)
    assert found == paths


def test_shared_memory_follows_the_gpus_of_a_pod() -> None:
    assert planned(spec(gpus=8, gpusPerPod=4)).shm_size == "4Gi"
    assert planned(spec(gpus=8, worker={"shmSize": "32Gi"})).shm_size == "32Gi"


def test_a_plan_does_not_depend_on_what_is_known_of_the_prompts() -> None:
    """Prompts are looked at before the first start only; later passes must come to the same plan."""
    made = plan.make(spec(gpus=16), "posters", [(1024, 1024)])
    assert isinstance(made, Plan)
    assert made == plan.make(spec(gpus=16), "posters", [])
