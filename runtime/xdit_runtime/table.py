"""/progress of a running worker as text for people: `xdit-worker status`."""

from collections.abc import Iterable

from xdit_api.report import LaneProgress, Progress


def render(progress: Progress) -> str:
    """A few lines about the job, then one for each lane and GPU."""
    counts = progress.counts
    failed = f", {counts.failed} prompt{'s' * (counts.failed > 1)} failed" if counts.failed else ""
    eta = "" if progress.eta_seconds is None else f", {_span(progress.eta_seconds)} left"
    lines = [f"replica {progress.replica}, attempt {progress.attempt}: {progress.phase}",
             f"{counts.completed}/{counts.total} images{failed}{eta}"]  # fmt: skip
    if progress.memory is not None and progress.memory.current is not None:
        limit = "" if progress.memory.limit is None else f" of {_gib(progress.memory.limit)}"
        peak = "" if progress.memory.peak is None else f", at most {_gib(progress.memory.peak)}"
        lines.append(f"host memory {_gib(progress.memory.current)}{limit}{peak}")
    if progress.lanes:
        lines += [
            "",
            *_columns([("LANE", "PHASE", "PROMPT", "STEP", "IMAGES", "S/IMAGE", "RESTARTS"), *map(_lane, progress.lanes)]),
        ]
    if progress.gpus:
        rows = [(str(g.index), f"{_gib(g.memory_used)} of {_gib(g.memory_total)}", "-" if g.utilization is None else f"{g.utilization} %")
                for g in progress.gpus]  # fmt: skip
        lines += ["", *_columns([("GPU", "MEMORY", "BUSY"), *rows])]
    if progress.result is not None:
        lines += ["", f"{progress.result.reason} ({progress.result.exit_code}): {progress.result.message}"]
    return "\n".join(lines)


def _lane(lane: LaneProgress) -> tuple[str, ...]:
    step = "-" if lane.step is None else f"{lane.step}/{lane.steps}"
    pace = "-" if lane.seconds_per_image is None else f"{lane.seconds_per_image:.2f}"
    return str(lane.index), lane.phase, lane.prompt or "-", step, str(lane.completed), pace, str(lane.restarts)


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _span(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{whole % 60:02}s" if minutes else f"{whole}s"
