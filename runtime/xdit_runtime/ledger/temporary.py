"""Names for files that are not finished."""

import os
import uuid
from pathlib import Path

from xdit_runtime.paths import Layout


def scratch(layout: Layout) -> Path:
    """A name in the scratch directory that nobody else has."""
    return layout.scratch / f"open-{os.getpid()}-{uuid.uuid4().hex[:8]}"
