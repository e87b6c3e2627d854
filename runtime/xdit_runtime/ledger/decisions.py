"""What is decided once for a resource: the first lane decides, every other lane and every later attempt reads it."""

import json
from collections.abc import Callable

from xdit_api.base import Json
from xdit_runtime.ledger.temporary import scratch
from xdit_runtime.paths import Layout
from xdit_runtime.volume import create_once, guarded


def decide(layout: Layout, make: Callable[[], Json]) -> Json:
    """The resource's decisions. `make` is called when there are none yet, and loses to whoever is faster.

    Raises OutputVolumeError and whatever `make` raises.
    """
    with guarded(layout.decisions):
        exists = layout.decisions.exists()
    if not exists:
        create_once(layout.decisions, json.dumps(make(), indent=1).encode() + b"\n", scratch(layout))
    with guarded(layout.decisions):
        found: Json = json.loads(layout.decisions.read_bytes())
    return found
