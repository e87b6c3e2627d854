"""How long a million prompts take before a model is loaded, and how much memory.

    .venv/bin/python tests/bench/prompts.py --out prompts.json      # a million lines of JSONL, CSV and TXT; a few minutes

Each file is frozen, opened and searched in a process of its own, which reports its peak resident memory.
"""

import argparse
import csv
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from xdit_api import API_VERSION
from xdit_api.job import Job, PromptFormat
from xdit_runtime.prompts import FrozenPrompts, freeze
from xdit_runtime.prompts.frozen import read_table, table_of

TEXT = "a photograph of subject number {n}, soft morning light, 35 mm, shallow depth of field, highly detailed, sharp focus"
T = TypeVar("T")
FORMATS: tuple[PromptFormat, ...] = ("jsonl", "csv", "txt", "json")


def write(path: Path, format: PromptFormat, lines: int) -> None:
    """A file such as a script writes: an id, a text of about 100 characters, a seed, one of four shapes."""
    with path.open("w", newline="") as file:
        if format == "csv":
            writer = csv.writer(file)
            writer.writerow(["id", "prompt", "seed", "width", "height"])
            writer.writerows(_values(n) for n in range(lines))
        elif format == "txt":
            file.writelines(TEXT.format(n=n) + "\n" for n in range(lines))
        else:
            names = ("id", "prompt", "seed", "width", "height")
            rows = (json.dumps(dict(zip(names, _values(n), strict=True))) for n in range(lines))
            if format == "jsonl":
                file.writelines(row + "\n" for row in rows)
            else:
                file.write("[")
                file.writelines(("" if n == 0 else ",\n") + row for n, row in enumerate(rows))
                file.write("]\n")


def _values(n: int) -> tuple[str, str, int, int, int]:
    return f"subject-{n:07d}", TEXT.format(n=n), n, (512, 768, 1024, 1280)[n % 4], 1024


def measure(source: Path, format: PromptFormat, policy: str, work: Path) -> dict[str, float]:
    """Seconds of each step and the peak of this process in MiB."""
    job = Job.model_validate(
        {
            "apiVersion": API_VERSION, "name": "bench", "uid": "bench", "device": "cpu", "gpus": 1, "gpusPerPod": 1, "degrees": {},
            "model": {"id": "none", "path": "/none"}, "prompts": {"path": str(source), "format": format, "policy": policy},
            "output": {"path": str(work)},
        }
    )  # fmt: skip
    lines, table = work / "frozen", work / "table"
    out = {"base_mib": _peak()}
    _timed(out, "freeze", lambda: freeze(job, lines, table))
    out["freeze_peak_mib"] = _peak()
    prompts = _timed(out, "open", lambda: FrozenPrompts(lines, read_table(table, lines)))
    _timed(out, "find_all", lambda: prompts.find(f"subject-{n:07d}" for n in range(len(prompts))))
    _timed(out, "shapes", prompts.shapes)
    _timed(out, "first_lines", lambda: prompts.first_lines(prompts.sizes()))
    step = max(1, len(prompts) // 10_000)
    _timed(out, "read_10000", lambda: [prompts[n] for n in range(0, len(prompts), step)])
    out["peak_mib"] = _peak()
    _timed(out, "table_again", lambda: table_of(lines))
    out["prompts"] = len(prompts)
    out["left_out"] = sum(1 for _ in prompts.left_out())
    out["source_mib"], out["frozen_mib"], out["table_mib"] = (p.stat().st_size / 2**20 for p in (source, lines, table))
    assert "torch" not in sys.modules
    return {name: round(value, 3) for name, value in out.items()}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _timed(out: dict[str, float], name: str, step: Callable[[], T]) -> T:
    started, worked = time.perf_counter(), time.process_time()
    value = step()
    out[f"{name}_seconds"] = time.perf_counter() - started
    out[f"{name}_cpu_seconds"] = time.process_time() - worked
    return value


def spoil(path: Path) -> None:
    """Break every hundredth line and give every thousandth the id of its predecessor."""
    spoiled = path.with_suffix(".spoiled")
    before = ""
    with path.open() as file, spoiled.open("w") as out:
        for n, line in enumerate(file):
            out.write("{" + line if n % 100 == 50 else before if n % 1000 == 1 else line)
            before = line
    spoiled.replace(path)


def run(lines: int, folder: Path, case: str) -> dict[str, float]:
    """One case, by its name: a format, or `skip`."""
    format: PromptFormat = next((f for f in FORMATS if f == case), "jsonl")
    source = folder / f"prompts.{format}"
    write(source, format, lines)
    if case == "skip":
        spoil(source)
    # a process that imported nothing: a forked one would count our memory
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (source, format, "Skip" if case == "skip" else "Fail", folder))


def main() -> None:
    """Run the cases and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="directory for the files, about 1 GB (default: the system's)")
    parser.add_argument(
        "cases", nargs="*", default=["jsonl", "csv", "txt", "skip"], help="jsonl, csv, txt, json (at most 64 MiB), skip"
    )
    options = parser.parse_args()
    results: dict[str, object] = {
        "lines": options.lines,
        "python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }
    for case in options.cases:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            results[case] = run(options.lines, Path(folder), case)
        print(case, json.dumps(results[case]), flush=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
