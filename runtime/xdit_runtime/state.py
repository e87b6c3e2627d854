"""What a pod says of itself while it lives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from xdit_api.report import Counts, GpuProgress, LanePhase, LaneProgress, Progress, Result
from xdit_runtime import cgroup, handshake
from xdit_runtime.eta import Pace, seconds_left

Phase = Literal["Preflight", "Running", "Finished", "Parked"]


@dataclass(frozen=True, slots=True)
class LaneState:
    """What the supervisor knows of a lane that its ranks do not say."""

    index: int
    dir: Path
    """Of its present or last life."""
    phase: LanePhase | None
    """None while its ranks know better."""
    restarts: int
    made: int
    """Images of earlier lives in this attempt."""

    def progress(self, said: LaneProgress | None) -> LaneProgress:
        """The lane's progress. said: by rank 0 of this life."""
        said = said or LaneProgress(index=self.index, phase="Waiting")
        change: dict[str, object] = {"restarts": self.restarts, "completed": self.made + said.completed}
        if self.phase is not None:
            change |= {"phase": self.phase, "prompt": None, "step": None, "steps": None, "seconds_per_image": None}
        return said.model_copy(update=change)


@dataclass
class State:
    """Written by the supervisor's main thread, read by those that answer HTTP; every field is replaced as a whole."""

    replica: int
    attempt: int
    job_uid: str = ""
    phase: Phase = "Preflight"
    counts: Counts = field(default_factory=Counts)
    lanes: Sequence[LaneState] = ()
    gpus: Callable[[], list[GpuProgress]] = list
    pace: Pace = field(default_factory=Pace)
    start_seconds: float | None = None
    result: Result | None = None

    def progress(self) -> Progress:
        """The answer of /progress. The counts are the newest of those that the lanes read from the volume."""
        counts, lanes, beats = self.counts, [], []
        for lane in self.lanes:
            beat = handshake.last_beat(lane.dir)
            if beat is not None:
                beats.append(beat)
            said = handshake.progress(lane.dir)
            if said is not None:
                counts = said[1] if said[1].completed >= counts.completed and said[1].total else counts
            if said is not None or lane.phase is not None or lane.restarts:
                lanes.append(lane.progress(None if said is None else said[0]))
        if self.result is not None and self.result.counts is not None:
            counts = self.result.counts
        moved = datetime.fromtimestamp(max(beats), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if beats else None
        left = counts.total - counts.completed
        return Progress(
            job_uid=self.job_uid,
            replica=self.replica,
            attempt=self.attempt,
            phase=self.phase,
            counts=counts,
            lanes=lanes,
            last_progress_time=moved,
            eta_seconds=seconds_left(left, self.pace, [p.seconds_per_image for p in lanes]) if self.phase == "Running" else None,
            start_seconds=self.start_seconds,
            gpus=self.gpus(),
            memory=cgroup.memory(),
            result=self.result,
        )


def line_of(progress: Progress) -> str:
    """One line for the log: '12/64 images · lane 0 generating cat, step 7 of 28, 0.61 s/image'."""
    parts = [f"{progress.counts.completed}/{progress.counts.total} images"]
    for lane in progress.lanes:
        text = f"lane {lane.index} {_PHRASES.get(lane.phase, lane.phase.lower())}"
        if lane.prompt is not None:
            text += f" {lane.prompt}"
        if lane.step is not None:
            text += f", step {lane.step} of {lane.steps}"
        if lane.seconds_per_image is not None:
            text += f", {lane.seconds_per_image:.2f} s/image"
        parts.append(text)
    return " · ".join(parts)


_PHRASES: dict[str, str] = {"GaveUp": "gave up"}
