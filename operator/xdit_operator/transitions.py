"""Old status, new status -> Events. Only changes are told; the same change gets the same name, so it is told once."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from xdit_api import API_VERSION, KIND
from xdit_api.base import Json
from xdit_api.status import Condition, Status
from xdit_operator import clock, names
from xdit_operator.text import cut


@dataclass(frozen=True, slots=True)
class Event:
    """One line of `kubectl describe`."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def between(old: Status, new: Status) -> list[Event]:
    """What happened, in the order in which a reader wants it."""
    out: list[Event] = []
    if old.start_time is None and new.start_time is not None and new.plan is not None:
        out.append(Event("Normal", "Started", f"pods are asked for: {new.plan.summary}"))
    attempts = {r.index: r.attempt for r in old.replicas}
    for replica in new.replicas:
        if replica.phase == "Restarting" and replica.attempt > attempts.get(replica.index, replica.attempt):
            when = f" at {replica.next_restart_time}" if replica.next_restart_time else ""
            text = f"replica {replica.index} starts attempt {replica.attempt}{when}: {replica.message}"
            out.append(Event("Warning", "GroupRestart", text))
    if new.phase == "Running" and old.phase != "Running":
        out.append(Event("Normal", "Generating", "images are being made"))
    before, after = _true(old), _true(new)
    for kind in ("Suspended", "Complete", "Failed", "Stalled"):
        condition = after.get(kind)
        known = before.get(kind)
        if condition is None or (known is not None and known.reason == condition.reason):
            continue
        if kind == "Stalled" and "Failed" in after:
            continue
        out.append(Event("Warning" if kind in ("Failed", "Stalled") else "Normal", condition.reason, condition.message))
    if "Suspended" in before and "Suspended" not in after and "Complete" not in after and "Failed" not in after:
        out.append(Event("Normal", "Resumed", "spec.suspend is false again"))
    return out


def _true(status: Status) -> dict[str, Condition]:
    return {c.type: c for c in status.conditions if c.status == "True"}


def manifest(event: Event, resource: Json, now: datetime) -> Json:
    """The core/v1 Event. Its name comes from what it says and when, so that a repeated write finds it there."""
    metadata = resource["metadata"]
    time = clock.write(now)
    said = f"{metadata['uid']}/{event.reason}/{event.message}/{time}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{hashlib.sha256(said.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": event.type,
        "reason": event.reason,
        "message": cut(event.message, 1024),
        "source": {"component": names.MANAGER},
        "reportingComponent": names.MANAGER,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
