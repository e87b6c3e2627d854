"""What a pod says of itself while it lives."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from xdit_api.report import Counts, Progress, Result
from xdit_runtime import handshake

Phase = Literal["Preflight", "Running", "Finished", "Parked"]


@dataclass
class State:
    """Written by the supervisor's main thread, read by those that answer HTTP; every field is replaced as a whole."""

    replica: int
    attempt: int
    job_uid: str = ""
    phase: Phase = "Preflight"
    counts: Counts = field(default_factory=Counts)
    lane_dirs: Sequence[Path] = ()
    result: Result | None = None

    def progress(self) -> Progress:
        """The answer of /progress. The counts are the newest of those that the lanes read from the volume."""
        counts, lanes, beats = self.counts, [], []
        for directory in self.lane_dirs:
            beat = handshake.last_beat(directory)
            if beat is not None:
                beats.append(beat)
            said = handshake.progress(directory)
            if said is not None:
                lane, read = said
                lanes.append(lane)
                counts = read if read.completed >= counts.completed and read.total else counts
        if self.result is not None and self.result.counts is not None:
            counts = self.result.counts
        moved = datetime.fromtimestamp(max(beats), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if beats else None
        return Progress(
            job_uid=self.job_uid,
            replica=self.replica,
            attempt=self.attempt,
            phase=self.phase,
            counts=counts,
            lanes=lanes,
            last_progress_time=moved,
            result=self.result,
        )


def line_of(progress: Progress) -> str:
    """One line for the log: '12/64 images · lane 0 generating cat, step 7 of 28, 0.61 s/image'."""
    parts = [f"{progress.counts.completed}/{progress.counts.total} images"]
    for lane in progress.lanes:
        text = f"lane {lane.index} {lane.phase.lower()}"
        if lane.prompt is not None:
            text += f" {lane.prompt}"
        if lane.step is not None:
            text += f", step {lane.step} of {lane.steps}"
        if lane.seconds_per_image is not None:
            text += f", {lane.seconds_per_image:.2f} s/image"
        parts.append(text)
    return " · ".join(parts)
