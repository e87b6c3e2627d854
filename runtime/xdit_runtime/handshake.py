"""What the ranks of a lane and the supervisor of their pod tell each other: small files in the lane's directory.

Files, because they survive either side's death and need no thread in a process that is busy with a GPU. Every file
is written whole (temp + rename); a reader sees the old one or the new one.

    rank-<n>.json   why rank n failed; the earliest one of a lane decides its result
    ended-<n>.json  how rank n ended without failing: drained, idle or stopped
    progress.json   the lane's progress, by rank 0
    claims.json     the claims that the lane generates right now, by rank 0
    beat-<n>        touched whenever rank n made progress: a step, bytes loaded, a compile phase
    stop            made by the supervisor: end at the next image boundary
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from xdit_api import pod
from xdit_api.job import Job
from xdit_api.report import Counts, Exit, LaneProgress, Outcome

ENV_LANE = "XDIT_LANE"
"""Index of the lane inside the replica, from 0."""
ENV_LANE_DIR = "XDIT_LANE_DIR"
"""Directory of these files; local to the pod."""
ENV_LANE_BEGAN = "XDIT_LANE_BEGAN"
"""Unix seconds of the start of the lane's present life."""


@dataclass(frozen=True, slots=True)
class RankFailure:
    """Why a rank failed."""

    rank: int
    time: float
    """Unix seconds."""
    exit: Exit
    message: str


@dataclass(frozen=True, slots=True)
class RankEnd:
    """How a rank ended without failing; counts are read from the ledger by rank 0 and broadcast."""

    rank: int
    outcome: Outcome
    counts: Counts


def write_whole(path: Path, text: str) -> None:
    """Replace `path` in one step. Not fsynced: these files need not survive the node."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def say_failed(lane_dir: Path, failure: RankFailure) -> None:
    """Called by a rank before it exits; the first word of a rank stands."""
    path = lane_dir / f"rank-{failure.rank}.json"
    if not path.exists():
        write_whole(path, json.dumps({**asdict(failure), "exit": int(failure.exit)}))


def failures(lane_dir: Path) -> list[RankFailure]:
    """Failures of the lane's ranks in this pod, earliest first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in lane_dir.glob("rank-*.json")]
    return sorted((RankFailure(f["rank"], f["time"], Exit(f["exit"]), f["message"]) for f in found), key=lambda f: f.time)


def say_ended(lane_dir: Path, end: RankEnd) -> None:
    """Called by a rank as its last word before it exits with 0."""
    record = {"rank": end.rank, "outcome": end.outcome, "counts": end.counts.dump()}
    write_whole(lane_dir / f"ended-{end.rank}.json", json.dumps(record))


def ends(lane_dir: Path) -> list[RankEnd]:
    """Ends of the lane's ranks in this pod."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in lane_dir.glob("ended-*.json")]
    return [RankEnd(f["rank"], f["outcome"], Counts.model_validate(f["counts"])) for f in found]


def say_progress(lane_dir: Path, progress: LaneProgress, counts: Counts) -> None:
    """Called by rank 0: where the lane is, and the whole job's counts as it last read them."""
    write_whole(lane_dir / "progress.json", json.dumps({"lane": progress.dump(), "counts": counts.dump()}))


def progress(lane_dir: Path) -> tuple[LaneProgress, Counts] | None:
    """What rank 0 last said; None before its first word or in a pod without rank 0."""
    try:
        found = json.loads((lane_dir / "progress.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return LaneProgress.model_validate(found["lane"]), Counts.model_validate(found["counts"])


def say_claims(lane_dir: Path, claims: Sequence[str]) -> None:
    """Called by rank 0 before it generates, with "<prompt id>.<generation>" of every claim in the batch, and with none after."""
    write_whole(lane_dir / "claims.json", json.dumps(list(claims)))


def claims(lane_dir: Path) -> list[str]:
    """The claims that the lane is generating; empty outside of generate and in a pod without rank 0."""
    try:
        found = json.loads((lane_dir / "claims.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [str(name) for name in found]


def beat(lane_dir: Path, rank: int) -> None:
    """Called by a rank whenever it made progress."""
    (lane_dir / f"beat-{rank}").touch()


def last_beat(lane_dir: Path) -> float | None:
    """Unix time of the newest beat of any rank in this pod; None before the first."""
    beats = [path.stat().st_mtime for path in lane_dir.glob("beat-*")]
    return max(beats, default=None)


def ask_to_stop(lane_dir: Path) -> None:
    """Called by the supervisor: end at the next image boundary."""
    (lane_dir / "stop").touch()


def stop_asked(lane_dir: Path) -> bool:
    """Whether this pod was asked to stop."""
    return (lane_dir / "stop").exists()


@dataclass(frozen=True, slots=True)
class RankContext:
    """Who a rank is: from torchrun's and the supervisor's environment."""

    job: Job
    lane_dir: Path
    replica: int
    attempt: int
    lane: int
    pod: str
    pod_uid: str
    rank: int
    local_rank: int
    world_size: int

    @classmethod
    def from_environment(cls) -> "RankContext":
        """Raises KeyError for a missing variable: only the supervisor starts ranks."""
        env = os.environ
        return cls(
            job=Job.model_validate_json(Path(env[pod.ENV_JOB]).read_bytes()),
            lane_dir=Path(env[ENV_LANE_DIR]),
            replica=int(env[pod.ENV_REPLICA]),
            attempt=int(env[pod.ENV_ATTEMPT]),
            lane=int(env[ENV_LANE]),
            pod=env[pod.ENV_POD_NAME],
            pod_uid=env[pod.ENV_POD_UID],
            rank=int(env["RANK"]),
            local_rank=int(env["LOCAL_RANK"]),
            world_size=int(env["WORLD_SIZE"]),
        )


def now() -> float:
    """Unix seconds; ranks of one pod share this clock."""
    return time.time()
