"""Which writes a decision needs: only what is absent or different, and never a template of a live attempt."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.world import condition, failed, group, pod, remembered, snapshot, source, spec, text
from xdit_api.base import Json
from xdit_api.status import Status
from xdit_operator import diff
from xdit_operator.act import Action, Apply, RemoveGroup, RemovePod, Scale, actions
from xdit_operator.decide import decide
from xdit_operator.observe import Group, Snapshot
from xdit_operator.render import Source, base, statefulset

ONE = spec(gpus=1)
SOURCE = source(ONE)
CHILDREN: dict[str, Json | None] = {m["kind"]: diff.sealed(m) for m in base(SOURCE)}


def live(of: Source = SOURCE, attempt: int = 0, up: bool = True) -> Json:
    """As the API server would show it: with defaults of its own."""
    made = copy.deepcopy(diff.sealed(statefulset.render(of, 0, attempt, up)))
    made["metadata"]["uid"] = "set-0"
    made["spec"]["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Retain"}
    made["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    made["spec"]["template"]["spec"]["containers"].insert(0, {"name": "injected"})
    return made


def todo(s: Snapshot, children: Any = None, of: Source | None = SOURCE) -> list[Action]:
    return actions(s, decide(s), of, children)


def told(found: list[Action]) -> list[str]:
    """'Apply StatefulSet', 'Scale 0', …"""
    out = []
    for action in found:
        if isinstance(action, Apply):
            out.append(f"Apply {action.manifest['kind']}")
        elif isinstance(action, Scale):
            out.append(f"Scale {action.replicas}")
        else:
            out.append(f"{type(action).__name__} {action.uid if isinstance(action, RemovePod) else action.group.uid}")
    return out


def up(*pods: Any, **more: Any) -> Group:
    return group(0, *pods, live=live(), **more)


def test_first_start_applies_what_pods_need_before_pods() -> None:
    absent: dict[str, Json | None] = dict.fromkeys(CHILDREN)
    assert told(todo(snapshot(), absent)) == ["Apply Service", "Apply ConfigMap", "Apply NetworkPolicy", "Apply StatefulSet"]
    assert told(todo(snapshot(), CHILDREN)) == ["Apply StatefulSet"]


def test_converged_means_nothing_to_do() -> None:
    assert todo(snapshot(up(pod())), CHILDREN) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m["spec"].update(replicas=3), ["Apply StatefulSet"]),
        (lambda m: m["spec"]["template"]["spec"].update(enableServiceLinks=True), ["Apply StatefulSet"]),
        (lambda m: m["spec"]["template"]["spec"]["containers"][1].update(image="other"), ["Apply StatefulSet"]),
        (lambda m: m["metadata"]["labels"].pop("app.kubernetes.io/managed-by"), ["Apply StatefulSet"]),
        (lambda m: m["metadata"]["labels"].update(extra="1"), []),
    ],
)
def test_drift_of_a_group_is_undone(change: Any, expected: list[str]) -> None:
    changed = live()
    change(changed)
    assert told(todo(snapshot(group(0, pod(), wanted=changed["spec"]["replicas"], live=changed)))) == expected


def test_another_version_of_the_operator_touches_replicas_only() -> None:
    newer = replace(SOURCE, settings=replace(SOURCE.settings, worker_image="registry/runtime:2"))
    assert todo(snapshot(up(pod())), of=newer) == []
    assert told(todo(snapshot(group(0, pod(), wanted=3, live=live())), of=newer)) == ["Scale 1"]
    # …until the group starts anew
    before = Status(replicas=[remembered(0, "Restarting", attempt=1, next_restart_time=text(-1))])
    found = todo(snapshot(group(0, wanted=0, live=live(up=False)), status=before), of=newer)
    assert told(found) == ["Apply StatefulSet"]
    assert isinstance(found[0], Apply)
    made = found[0].manifest["spec"]["template"]
    assert made["metadata"]["labels"]["xdit.dev/attempt"] == "1"
    assert made["spec"]["containers"][0]["image"] == "registry/runtime:2"


def test_a_restart_scales_to_0_with_the_old_template() -> None:
    assert told(todo(snapshot(up(pod(ended=failed(1)))))) == ["Scale 0"]
    waiting = Status(replicas=[remembered(0, "Restarting", attempt=1, next_restart_time=text(5))])
    assert todo(snapshot(group(0, wanted=0, live=live(up=False)), status=waiting)) == []


def test_end_and_suspend_scale_to_0_once() -> None:
    ended = Status(conditions=[condition("Complete")], replicas=[remembered(0)])
    for status, of in ((ended, ONE), (Status(), spec(gpus=1, suspend=True))):
        assert told(todo(snapshot(up(pod()), status=status, of=of), CHILDREN)) == ["Scale 0"]
        assert todo(snapshot(group(0, pod(deleting=True), wanted=0, live=live()), status=status, of=of), CHILDREN) == []
        assert todo(snapshot(status=status, of=of), dict.fromkeys(CHILDREN)) == []
    assert told(todo(snapshot(up(pod()), status=ended), of=None)) == ["Scale 0"]


def test_replicas_that_are_left_over_go_to_0_and_then_away() -> None:
    extra = group(1, pod(replica=1), live={"metadata": {}})
    assert told(todo(snapshot(up(pod()), extra))) == ["Scale 0"]
    assert todo(snapshot(up(pod()), group(1, pod(replica=1), wanted=0))) == []
    assert told(todo(snapshot(up(pod()), group(1, wanted=0)))) == ["RemoveGroup set-1"]
    assert isinstance(todo(snapshot(up(pod()), group(1, wanted=0)))[0], RemoveGroup)


def test_a_pod_of_an_older_attempt_is_deleted_by_uid() -> None:
    now = group(0, pod(uid="old", attempt=0), pod(uid="new", attempt=1), attempt=1, live=live(attempt=1))
    assert told(todo(snapshot(now))) == ["RemovePod old"]


def test_what_is_being_deleted_is_left_alone() -> None:
    assert todo(snapshot(up(pod(), deleting=True)), CHILDREN) == []


def test_children_are_applied_when_they_differ() -> None:
    service = copy.deepcopy(CHILDREN["Service"])
    assert service is not None
    service["spec"]["publishNotReadyAddresses"] = False
    assert told(todo(snapshot(up(pod())), {**CHILDREN, "Service": service})) == ["Apply Service"]
    job = copy.deepcopy(CHILDREN["ConfigMap"])
    assert job is not None
    job["metadata"]["annotations"] = {}
    assert told(todo(snapshot(up(pod())), {**CHILDREN, "ConfigMap": job})) == ["Apply ConfigMap"]


# --- comparison ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [("1024Mi", "1Gi"), ("1", 1), ("500m", "0.5"), ("1000m", 1), ("2k", "2000"), ("1.5Gi", "1536Mi"), ("4Gi", "4Gi")],
)
def test_quantities_are_compared_by_amount(one: Any, other: Any) -> None:
    assert not diff.differs({"limits": {"memory": one}}, {"limits": {"memory": other}})
    assert diff.differs({"limits": {"memory": one}}, {"limits": {"memory": "7Ei"}})


def test_text_that_looks_like_a_quantity_is_text_elsewhere() -> None:
    assert diff.differs({"value": "1024Mi"}, {"value": "1Gi"})
    assert diff.differs({"value": "1"}, {"value": 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "limits", "a", "b"]), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["name", "limits", "a"]), JSON, max_size=3))
def test_nothing_differs_from_itself_nor_from_itself_with_more(value: Any) -> None:
    assert not diff.differs(value, value)
    assert not diff.differs(value, {**value, "added": 1})


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.integers(), min_size=1))
def test_a_changed_or_missing_field_differs(value: Any) -> None:
    key = sorted(value)[0]
    assert diff.differs(value, {**value, key: value[key] + 1})
    assert diff.differs(value, {k: v for k, v in value.items() if k != key})


def test_lists_are_compared_by_kubernetes_own_keys() -> None:
    desired = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    assert not diff.differs(desired, {"env": [{"name": "X"}, {"name": "B", "value": "2"}, {"name": "A", "value": "1"}]})
    assert diff.differs(desired, {"env": [{"name": "A", "value": "1"}]})
    assert diff.differs({"args": ["a", "b"]}, {"args": ["b", "a"]})
    assert diff.differs({"args": ["a"]}, {"args": ["a", "b"]})


def test_digest_sees_everything_but_replicas() -> None:
    one = statefulset.render(SOURCE, 0, 0, True)
    assert diff.digest(one) == diff.digest(statefulset.render(SOURCE, 0, 0, False))
    assert diff.digest(one) != diff.digest(statefulset.render(SOURCE, 0, 1, True))
    assert diff.seal(diff.sealed(one)) == diff.digest(one)
    assert "annotations" not in one["metadata"], "sealing changed its input"
