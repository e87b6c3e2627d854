"""What one operator process remembers of a resource between two reconciles. Losing it costs requests, never correctness."""

from collections.abc import Sequence
from dataclasses import dataclass

from xdit_api.base import Json
from xdit_operator import diff
from xdit_operator.problem import Problem


@dataclass(slots=True)
class Memory:
    """Times are monotonic seconds."""

    base_digest: str = ""
    """Of the children without a watch when they were last seen to be right."""
    base_seen: float = 0.0
    progress_written: float = float("-inf")
    refused: Json | None = None
    """The manifest that the API server refused."""
    refused_because: Problem | None = None
    refused_at: float = 0.0

    def base_due(self, manifests: Sequence[Json], now: float, every: float) -> bool:
        """Whether the children without a watch must be looked at."""
        return self.base_digest != digest_all(manifests) or now - self.base_seen >= every

    def base_right(self, manifests: Sequence[Json], now: float) -> None:
        """They are as they should be."""
        self.base_digest, self.base_seen = digest_all(manifests), now


def digest_all(manifests: Sequence[Json]) -> str:
    """One hash for several manifests."""
    return " ".join(diff.digest(manifest) for manifest in manifests)
