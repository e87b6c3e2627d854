"""Incarnations of lanes: one life of one lane in one pod, the owner of claims."""

import re
from dataclasses import dataclass

_NAME = re.compile(r"(\d+)-(\d+)-([^-]+)-(\d+)\Z")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a claim."""

    replica: int
    lane: int
    pod: str
    """First 8 characters of the pod's uid, without '-'."""
    start: int
    """Unix milliseconds."""

    def __str__(self) -> str:
        return f"{self.replica}-{self.lane}-{self.pod}-{self.start}"

    @classmethod
    def parse(cls, text: str) -> "Owner | None":
        """None for what is not (yet) an owner's name."""
        found = _NAME.match(text)
        return None if found is None else cls(int(found[1]), int(found[2]), found[3], int(found[4]))

    def same_lane(self, other: "Owner") -> bool:
        """Whether the other is an earlier or later life of this lane."""
        return (self.replica, self.lane) == (other.replica, other.lane)
