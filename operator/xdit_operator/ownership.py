"""May an object of a name that we need be written to?"""

from xdit_api import GROUP, KIND
from xdit_api.base import Json
from xdit_operator.observe import controller
from xdit_operator.problem import Problem

SOON = 5.0
LATER = 15.0


def conflict(live: Json, name: str, uid: str) -> Problem | None:
    """None for our own object. An earlier life's object goes away by itself; anybody else's is never touched.

    name, uid: of the resource.
    """
    owner = controller(live)
    what = f"{live['kind']} {live['metadata']['name']}"
    if "deletionTimestamp" in live["metadata"]:
        return Problem("WaitingForCleanup", f"{what} is being deleted", SOON, waiting=True)
    if owner is not None and owner.get("uid") == uid:
        return None
    if owner is not None and owner["kind"] == KIND and owner["name"] == name and owner["apiVersion"].startswith(f"{GROUP}/"):
        return Problem("WaitingForCleanup", f"{what} belongs to an earlier {name} that is being cleaned up", SOON, waiting=True)
    whose = f"belongs to {owner['kind']} {owner['name']}" if owner is not None else "was made by somebody else"
    text = f"{what} is needed but {whose}; rename it or this resource; it is looked at again every {LATER:.0f} s"
    return Problem("NameTaken", text, LATER)
