"""Runs the phases, each in processes of its own, and writes what is known so far to $OUT/h200.json after each."""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.setting import GPU, TINY, Setting, job

HERE = Path(__file__).parent
PHASES = ("build", "one", "two", "supervisor", "report")


class Bench:
    def __init__(self, setting: Setting, work: Path, out: Path, budget: float) -> None:
        self.setting, self.work, self.out = setting, work, out
        self.model = work / "model"
        self.deadline = time.monotonic() + budget
        self.path = out / "h200.json"
        self.result: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def say(self, key: str, value: object) -> None:
        self.result[key] = value
        self.path.write_text(json.dumps(self.result, indent=1))
        print(f"== {key}: {json.dumps(value)}", flush=True)

    def start(self, name: str, command: list[str], **environment: str) -> "tuple[str, subprocess.Popen[bytes]]":
        print(f"[{time.strftime('%X')}] {name}: {' '.join(command)}", flush=True)
        with (self.out / f"{name}.log").open("ab") as log:
            return name, subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
            )

    def finish(self, name: str, process: "subprocess.Popen[bytes]", limit: float) -> None:
        """Raise with the end of the log when it failed or took too long."""
        left = min(limit, self.deadline - time.monotonic())
        try:
            code = process.wait(max(left, 1))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = None
        if code != 0:
            tail = (self.out / f"{name}.log").read_bytes()[-3000:].decode(errors="replace")
            raise RuntimeError(f"{name}: {'out of time' if code is None else f'exit code {code}'}\n{tail}")

    # --- phases ------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        shutil.rmtree(self.model, ignore_errors=True)
        tiny = ["--tiny"] if self.setting is TINY else []
        started = time.monotonic()
        self.finish(*self.start("build", [sys.executable, str(HERE / "model.py"), str(self.model), *tiny]), 200)
        self.say("build_seconds", round(time.monotonic() - started, 1))

    def one(self) -> None:
        """The comparison on GPU 0; with a second GPU the supervised run goes on there at the same time."""
        beside = self.setting.device == "cuda" and gpus() > 1
        other = self.supervise_start(1, CUDA_VISIBLE_DEVICES="1") if beside else None
        self.compare(1, CUDA_VISIBLE_DEVICES="0")
        if not beside:
            other = self.supervise_start(1)
        assert other is not None
        self.supervise_finish(1, *other)

    def two(self) -> None:
        if self.setting.device == "cuda" and gpus() < 2:
            self.say("u2", "one GPU only")
            return
        self.compare(2)

    def supervisor(self) -> None:
        if self.setting.device == "cpu" or gpus() > 1:
            self.supervise_finish(2, *self.supervise_start(2))

    def compare(self, ulysses: int, **environment: str) -> None:
        for old in self.work.glob(f"u{ulysses}-*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        tiny = ["--tiny"] if self.setting is TINY else []
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ulysses)]
        command = [*launcher, str(HERE / "ab.py"), str(self.model), str(self.work), str(ulysses), *tiny]
        self.finish(*self.start(f"u{ulysses}", command, **environment), 320)
        ranks = [json.loads((self.work / f"u{ulysses}-rank{r}.json").read_text()) for r in range(ulysses)]
        self.say(f"u{ulysses}", comparison(ranks))

    def supervise_start(self, ulysses: int, **environment: str) -> "tuple[str, subprocess.Popen[bytes]]":
        directory = self.work / f"supervised-{ulysses}"
        shutil.rmtree(directory, ignore_errors=True)
        made = job(self.setting, self.model, directory, 0, self.setting.supervised, ulysses)
        (directory / "job.json").write_text(made.model_dump_json(by_alias=True))
        command = [sys.executable, "-m", "xdit_runtime.supervisor", "run", "--job", str(directory / "job.json")]
        places = {
            "XDIT_LIFE_DIR": str(directory / "life"),
            "XDIT_TERMINATION_LOG": str(directory / "result"),
            "XDIT_HTTP_PORT": "0",
        }
        (directory / "started").write_text(str(time.time()))
        return self.start(f"supervised-{ulysses}", command, **places, **environment)

    def supervise_finish(self, ulysses: int, name: str, process: "subprocess.Popen[bytes]") -> None:
        directory = self.work / f"supervised-{ulysses}"
        self.finish(name, process, 240)
        wall = time.time() - float((directory / "started").read_text())
        lines = [json.loads(line) for line in (directory / "out" / "manifest.jsonl").read_text().splitlines()]
        files = sorted((directory / "out" / "images").iterdir(), key=lambda path: path.stat().st_mtime)
        times = [path.stat().st_mtime for path in files]
        assert len(lines) == len(files) == self.setting.supervised, (len(lines), len(files))
        self.say(
            f"supervised_u{ulysses}",
            {
                "images": len(files),
                "wall_seconds": round(wall, 1),
                "first_image_after_seconds": round(times[0] - float((directory / "started").read_text()), 1),
                "seconds_per_image": round(statistics.median(np.diff(times)), 3),
                "generation_seconds_in_manifest": round(statistics.median(line["seconds"] for line in lines), 3),
                "bytes_per_image": round(statistics.mean(path.stat().st_size for path in files)),
            },
        )

    def report(self) -> None:
        """How far pictures of the same prompt and seed are apart, in levels of 255."""
        sides = {p.stem: dict(np.load(p)) for p in sorted(self.work.glob("u?-*.npz"))}
        pairs = [("u1-bare", "u1-ours"), ("u2-bare", "u2-ours"), ("u1-ours", "u2-ours")]
        out = {f"{a} {b}": difference(sides[a], sides[b]) for a, b in pairs if a in sides and b in sides}
        if "u1-ours" in sides:
            names = sorted(sides["u1-ours"])
            shifted = {name: sides["u1-ours"][other] for name, other in zip(names, [*names[1:], names[0]], strict=True)}
            out["other prompt and seed"] = difference(sides["u1-ours"], shifted)
            self.pictures(sides)
        self.say("levels", out)

    def pictures(self, sides: dict[str, Any]) -> None:
        from PIL import Image

        for side in ("u1-ours", "u2-ours"):
            if side in sides:
                row = np.concatenate([sides[side][name] for name in sorted(sides[side])[:3]], axis=1)
                Image.fromarray(row).reduce(2).save(self.out / f"{side}.png")


def gpus() -> int:
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return len(listed.splitlines())


def difference(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    off = [np.abs(a[name].astype(int) - b[name].astype(int)) for name in a]
    return {
        "images": len(off),
        "max": int(max(o.max() for o in off)),
        "mean": round(float(np.mean([o.mean() for o in off])), 4),
        "share_above_8": round(float(np.mean([(o > 8).mean() for o in off])), 6),
    }


def comparison(ranks: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over all intervals of a side; `noise` is how far two blocks of the same side are apart."""
    bare, ours = ranks[-1]["bare"], ranks[0]["ours"]
    every = {side: [seconds for block in taken for seconds in block] for side, taken in (("bare", bare), ("ours", ours))}
    median = {side: statistics.median(taken) for side, taken in every.items()}
    mean = {side: statistics.mean(taken) for side, taken in every.items()}
    blocks = {side: [round(statistics.median(block), 4) for block in taken] for side, taken in (("bare", bare), ("ours", ours))}

    def percent(a: float, b: float) -> float:
        return round(100 * (a / b - 1), 3)

    return {
        "median_seconds": {side: round(value, 4) for side, value in median.items()},
        "mean_seconds": {side: round(value, 4) for side, value in mean.items()},
        "overhead_percent": percent(median["ours"], median["bare"]),
        "overhead_percent_of_means": percent(mean["ours"], mean["bare"]),
        "noise_percent": {side: percent(max(pair), min(pair)) for side, pair in blocks.items()},
        "block_medians": blocks,
        "intervals": {"bare": bare, "ours": ours},
        "ranks": [{key: value for key, value in rank.items() if key not in ("bare", "ours")} for rank in ranks],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phases", nargs="*", default=[], metavar="PHASE", help=f"of {', '.join(PHASES)}; default: all")
    parser.add_argument("--tiny", action="store_true", help="the tiny model on the CPU: proves the script, not the speed")
    parser.add_argument(
        "--work", type=Path, default=Path("/tmp/xdit-bench/work"), help="model and pictures (default: %(default)s)"
    )
    parser.add_argument("--budget", type=float, default=570, help="seconds for everything (default: %(default)s)")
    given = parser.parse_args()
    if unknown := set(given.phases) - set(PHASES):
        parser.error(f"unknown phase {', '.join(sorted(unknown))}")
    out = Path(os.environ["OUT"])
    out.mkdir(parents=True, exist_ok=True)
    given.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(TINY if given.tiny else GPU, given.work, out, given.budget)
    started, failed = time.monotonic(), []
    for phase in given.phases or PHASES:
        action: Callable[[], None] = getattr(bench, phase)
        try:
            action()
        except Exception:  # noqa: BLE001 - the other phases may still tell something
            failed.append(phase)
            bench.say(f"error_{phase}", traceback.format_exc()[-4000:])
        print(f"[{time.strftime('%X')}] {phase}: done after {time.monotonic() - started:.0f} s", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
