"""The status of a resource whose spec this version cannot read."""

from datetime import datetime

from pydantic import ValidationError

from xdit_api.status import Status
from xdit_operator.status.conditions import State, write


def invalid_spec(old: Status, generation: int, error: ValidationError, now: datetime) -> Status:
    """Stalled; everything else stays as it was. Happens when an object was stored under another version of the CRD."""
    shown = "; ".join(f"spec.{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors(include_url=False))
    state = State("False", "InvalidSpec", f"this version of the operator cannot read the spec: {shown}", ("Stalled",))
    update = {
        "observed_generation": generation,
        "conditions": write(state, old, generation, now),
        "phase": old.phase or "Pending",
    }
    return old.model_copy(update=update)
