"""Events: told at each change, once, in words of their own."""

from typing import Any

import pytest

from tests.unit.operator.world import NOW, UID, at, condition, planned, remembered, spec, text
from xdit_api.status import Status
from xdit_operator.status import plan_status
from xdit_operator.transitions import Event, between, manifest

PLAN = plan_status(planned(spec(gpus=1)))


def told(old: Status, new: Status) -> list[tuple[str, str]]:
    return [(e.type, e.reason) for e in between(old, new)]


RESTARTING = Status(replicas=[remembered(0, "Restarting", attempt=1, message="after x", next_restart_time=text(10))])
CASES: list[tuple[Status, Status, list[tuple[str, str]]]] = [
    (Status(), Status(start_time=text(0), plan=PLAN), [("Normal", "Started")]),
    (Status(phase="Starting"), Status(phase="Running"), [("Normal", "Generating")]),
    (Status(replicas=[remembered(0)]), RESTARTING, [("Warning", "GroupRestart")]),
    (RESTARTING, RESTARTING, []),
    (Status(), Status(conditions=[condition("Stalled", reason="MissingPVC")]), [("Warning", "MissingPVC")]),
    (
        Status(conditions=[condition("Stalled", reason="MissingPVC")]),
        Status(conditions=[condition("Stalled", reason="InvalidPrompts")]),
        [("Warning", "InvalidPrompts")],
    ),
    (Status(), Status(conditions=[condition("Stalled", reason="X"), condition("Failed", reason="X")]), [("Warning", "X")]),
    (Status(), Status(conditions=[condition("Complete", reason="AllImagesWritten")]), [("Normal", "AllImagesWritten")]),
    (Status(), Status(conditions=[condition("Suspended", reason="Suspended")]), [("Normal", "Suspended")]),
    (Status(conditions=[condition("Suspended")]), Status(), [("Normal", "Resumed")]),
    (Status(), Status(conditions=[condition("Stalled", "False", "X")]), []),
]


@pytest.mark.parametrize(("old", "new", "expected"), CASES)
def test_changes_are_told(old: Status, new: Status, expected: Any) -> None:
    assert told(old, new) == expected
    assert told(new, new) == []


def test_the_same_event_has_the_same_name() -> None:
    resource = {"metadata": {"name": "posters", "namespace": "studio", "uid": UID}}
    event = Event("Warning", "GroupRestart", "x" * 2000)
    one = manifest(event, resource, NOW)
    assert one == manifest(event, resource, NOW)
    assert one["metadata"]["name"] != manifest(event, resource, at(1))["metadata"]["name"]
    assert one["metadata"]["name"] != manifest(Event("Warning", "GroupRestart", "y"), resource, NOW)["metadata"]["name"]
    assert len(one["message"].encode()) <= 1024
    assert (one["involvedObject"]["uid"], one["involvedObject"]["kind"]) == (UID, "XDiTInference")
