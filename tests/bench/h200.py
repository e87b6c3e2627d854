"""Runs the phases, each in processes of its own. What is known is in $OUT/h200.json after every phase."""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench import plot, report
from tests.bench.setting import TINY, Setting, job, on
from tests.bench.watch import Watch, read_speed
from xdit_api.job import Degrees
from xdit_runtime import processes

HERE = Path(__file__).parent
LIMITS = {"build": 120, "wide": 360, "lanes": 150, "modes": 130, "fewer": 230, "compiled": 130, "report": 30}
"""Phases in their order, and the seconds that each may take."""
LEAST = {"build": 30, "wide": 150, "lanes": 70, "modes": 50, "fewer": 110, "compiled": 70, "report": 0}
"""With less time left a phase does not begin: it would find nothing and keep another from being run."""
_COLD_SECONDS = 40.0
"""A model that the disk reads in this time is loaded from a cold cache in `lanes`."""
_LOG_BYTES = 300_000


class Bench:
    def __init__(self, setting: Setting, work: Path, out: Path, deadline: float) -> None:
        self.setting, self.work, self.out, self.deadline = setting, work, out, deadline
        self.models, self.logs = work / "models", work / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.phase_ends = deadline
        self._kept = work / "h200.json"
        """Outlives a call whose $OUT is emptied before the next."""
        self.result: dict[str, Any] = json.loads(self._kept.read_text()) if self._kept.exists() else {}
        self._lock = threading.Lock()

    def say(self, key: str, value: object) -> None:
        with self._lock:
            self.result[key] = value
            for path in (self._kept, self.out / "h200.json"):
                path.write_text(json.dumps(self.result, indent=1))
        print(f"== {key}: {json.dumps(value)[:1500]}", flush=True)

    def left(self) -> float:
        """Seconds until the phase must be over."""
        return self.phase_ends - time.monotonic()

    def start(self, name: str, command: Sequence[str], **environment: str) -> "subprocess.Popen[bytes]":
        print(f"[{time.strftime('%X')}] {name}: {' '.join(command)}", flush=True)
        with (self.logs / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})

    def finish(self, name: str, process: "subprocess.Popen[bytes]", limit: float | None = None) -> None:
        """Raise with the end of the log when it failed or took too long."""
        try:
            code: int | None = process.wait(max(self.left() if limit is None else limit, 1))
        except subprocess.TimeoutExpired:
            code = None
            # torchrun's ranks have sessions of their own
            processes.send([process.pid, *processes.descendants(process.pid)], signal.SIGKILL)
            process.wait()
        if code != 0:
            tail = (self.logs / f"{name}.log").read_bytes()[-3000:].decode(errors="replace")
            raise RuntimeError(f"{name}: {'out of time' if code is None else f'exit code {code}'}\n{tail}")

    def run(self, name: str, command: Sequence[str], **environment: str) -> None:
        self.finish(name, self.start(name, command, **environment))

    def script(self, name: str, *arguments: object) -> list[str]:
        tiny = ["--tiny"] if self.setting.device == "cpu" else []
        return [str(HERE / name), *map(str, arguments), *tiny]

    def ranks(self, name: str, count: int, command: list[str], gpus: Sequence[int]) -> None:
        """`command` on `count` ranks."""
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        self.run(name, [*launcher, *command], CUDA_VISIBLE_DEVICES=",".join(map(str, gpus)))

    def fresh(self, *patterns: str) -> None:
        """Remove what an earlier call left."""
        for pattern in patterns:
            for old in self.work.glob(pattern):
                shutil.rmtree(old) if old.is_dir() else old.unlink()

    # --- phases ------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Write the models; how fast."""
        shutil.rmtree(self.models, ignore_errors=True)
        parts = self.setting.wide if self.setting.device == "cuda" else 1
        started = time.monotonic()
        running = [
            self.start(
                f"build-{n}",
                [sys.executable, *self.script("write.py", self.models, n, parts)],
                CUDA_VISIBLE_DEVICES=str(n),
            )
            for n in range(parts)
        ]
        for n, process in enumerate(running):
            self.finish(f"build-{n}", process)
        seconds, size = time.monotonic() - started, self.model_bytes()
        # so that the pages are clean when `lanes` wants to drop them
        subprocess.Popen(["sync"])
        self.say("build", {"seconds": round(seconds, 1), "bytes": size, "mb_per_second": round(size / seconds / 1e6)})

    def model_bytes(self) -> int:
        return sum(path.stat().st_size for path in (self.models / "flux").rglob("*.safetensors"))

    def wide(self) -> None:
        """The comparison on all GPUs."""
        setting = self.setting
        self.compare(f"u{setting.wide}", setting.wide, "ab,pieces,big", range(setting.wide), setting.block, 2)

    def compiled(self) -> None:
        """The bare pipeline compiled."""
        wide = self.setting.wide
        self.compare(f"compiled_u{wide}", wide, "compiled", range(wide), 1, 1)

    def compare(self, name: str, ulysses: int, parts: str, gpus: Sequence[int], block: int, pairs: int) -> None:
        """What the parts found is kept, also when a later one fails."""
        self.fresh(f"{name}-*")
        until = self.left() - 15
        command = self.script("ab.py", name, self.models, self.work, ulysses, parts, round(until), block, pairs)
        try:
            self.ranks(name, ulysses, command, gpus)
        finally:
            paths = [self.work / f"{name}-rank{rank}.json" for rank in range(ulysses)]
            if all(path.exists() for path in paths):
                self.say(name, report.comparison([json.loads(path.read_text()) for path in paths]))

    def lanes(self) -> None:
        """The whole worker with a lane on each GPU; the model is not in the page cache if the disk is fast enough."""
        cold = self.cool()
        found = self.worker("lanes", self.setting.wide, self.setting.lane_images, range(self.setting.wide))
        self.say("lanes", {"cache": cold, **found})

    def cool(self) -> dict[str, object]:
        """Take the model out of the page cache, unless the disk is slow or has not written it yet."""
        files = [path for path in (self.models / "flux").rglob("*") if path.is_file()]
        try:
            subprocess.run(["sync"], timeout=10, check=True)
        except (subprocess.SubprocessError, OSError):
            return {"cold": False, "why": "the disk was still writing"}
        speed = read_speed(max(files, key=lambda path: path.stat().st_size), 4.0, drop)
        facts: dict[str, object] = {"disk_read_mb_per_second": round(speed / 1e6)}
        if self.model_bytes() / speed > _COLD_SECONDS:
            return {"cold": False, "why": "the disk is slow", **facts}
        for path in files:
            drop(path)
        return {"cold": True, **facts}

    def worker(self, name: str, lanes: int, images: int, gpus: Sequence[int]) -> dict[str, object]:
        """`xdit-worker run` with `images` for each lane."""
        self.fresh(name)
        directory = self.work / name
        made = job(self.setting, self.models / "flux", directory, Degrees(lanes=lanes), 0, lanes * images)
        (directory / "job.json").write_text(made.model_dump_json(by_alias=True))
        port = free_port()
        places = {
            "XDIT_LIFE_DIR": str(directory / "life"),
            "XDIT_TERMINATION_LOG": str(directory / "result"),
            "XDIT_HTTP_PORT": str(port),
            "MASTER_PORT": str(free_port()),
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)),
        }
        command = [sys.executable, "-m", "xdit_runtime.supervisor", "run", "--job", str(directory / "job.json")]
        started = time.time()
        process = self.start(name, command, **places)
        watch = Watch(process.pid, port)
        try:
            self.finish(name, process)
        finally:
            host = watch.end()
        wall = time.time() - started
        lines = [json.loads(line) for line in (directory / "out" / "manifest.jsonl").read_text().splitlines()]
        pictures = directory / "out" / "images"
        moments = [(str(line["lane"]), (pictures / line["file"]).stat().st_mtime) for line in lines]
        assert len(moments) == lanes * images, moments
        return {
            "compile": made.engine.compile,
            "wall_seconds": round(wall, 1),
            "first_image_after_seconds": round(min(moment for _, moment in moments) - started, 1),
            **host,
            **report.lanes(moments),
        }

    def modes(self) -> None:
        """Every other way of splitting, all at once: whether they finish, and how far their pictures are apart."""
        wide, setting = self.setting.wide, self.setting
        size, steps = setting.pixels, setting.mode_steps
        degrees = {
            "pipefusion": Degrees(pipefusion=wide, warmup_steps=1),
            "ring": Degrees(ring=wide),
            "cfg": Degrees(cfg=2),
        }
        if wide == 4:
            degrees["u2r2"] = Degrees(ulysses=2, ring=2)
        if wide < 2:
            raise RuntimeError("one GPU only")

        def action(name: str) -> Callable[[], None]:
            model = "sd3" if name == "cfg" else "flux"
            times = 2 if name == "pipefusion" else 1
            runs = [{"pixels": size, "steps": steps, "batch": 1, "times": times}]
            return lambda: self.drive(f"mode-{name}", model, degrees[name], runs, range(degrees[name].world_size))

        together({name: action(name) for name in degrees})

    def drive(
        self, name: str, model: str, degrees: Degrees, runs: list[dict[str, int]], gpus: Sequence[int], *options: str
    ) -> None:
        """What the runs found is kept, also when a later one fails."""
        self.fresh(f"{name}-r*", f"{name}.*")
        arguments = (name, self.models / model, self.work, degrees.model_dump_json(by_alias=True), json.dumps(runs), *options)
        try:
            self.ranks(name, degrees.world_size, self.script("drive.py", *arguments), gpus)
        finally:
            path = self.work / f"{name}.json"
            if path.exists():
                self.say(name, {"model": model, **json.loads(path.read_text())})

    def fewer(self) -> None:
        """Comparisons on one GPU and on two, one lane, and batches: on different GPUs at the same time."""
        setting, last = self.setting, self.setting.wide - 1
        block, pairs = setting.small_block, setting.small_pairs
        runs = [{"pixels": setting.small_pixels, "steps": setting.steps, "batch": n, "times": 1} for n in setting.batches]

        def beside() -> None:
            self.say("single", self.worker("single", 1, setting.single_images, [last]))
            self.drive("batches", "flux", Degrees(), runs, [last], "--compile")

        actions = {"u1": lambda: self.compare("u1", 1, "ab,pieces", [0], block, pairs), "single": beside}
        if setting.wide == 4:
            actions["u2"] = lambda: self.compare("u2", 2, "ab,pieces", [1, 2], block, pairs)
        if setting.wide == 1:
            raise RuntimeError("one GPU only: `wide` has compared it")
        together(actions)

    def report(self) -> None:
        """Levels, the lanes' ratio, the plot, the table."""
        sides = {path.stem: dict(np.load(path)) for path in sorted(self.work.glob("u?-*.npz"))}
        self.say("levels", report.levels(sides))
        modes = {path.stem: dict(np.load(path)) for path in sorted(self.work.glob("mode-*.npz")) if path.stem != "mode-cfg"}
        self.say("levels_of_modes", report.levels(modes))
        one = self.result.get("single", {}).get("images_per_second")
        if "lanes" in self.result and one:
            self.say("lanes_against_one", round(self.result["lanes"]["images_per_second"] / one, 3))
        if groups := plot.bars(self.result):
            title = f"Seconds per image, {self.setting.pixels}², {self.setting.steps} steps, {self.setting.device}"
            (self.out / "seconds-per-image.svg").write_text(plot.svg(groups, title))
        print(report.table(self.result), flush=True)

    def keep_logs(self) -> None:
        """All logs, the end of each, in one file."""
        with (self.out / "h200.log").open("wb") as out:
            for path in sorted(self.logs.glob("*.log")):
                out.write(f"\n===== {path.name}\n".encode() + path.read_bytes()[-_LOG_BYTES:])


def together(actions: dict[str, Callable[[], None]]) -> None:
    """All at the same time, each to its end. Raises one error for those that failed."""
    failures: list[str] = []

    def guarded(name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - the others go on
            failures.append(f"{name}: {error}")

    threads = [threading.Thread(target=guarded, args=item) for item in actions.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError("\n".join(failures))


def drop(path: Path) -> None:
    """Out of the page cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
    return port


def machine() -> dict[str, object]:
    """What it runs on."""
    packages = ("torch", "triton", "diffusers", "transformers", "xfuser")
    found: dict[str, object] = {"cpus": processes.cpus()}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    with suppress(OSError):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        found["gpus"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what",
        nargs="*",
        metavar="xN | PHASE",
        help=f"x4 (default), x2 or x1: GPUs; phases of {', '.join(LIMITS)}; default: all",
    )
    parser.add_argument("--tiny", action="store_true", help="the tiny model on the CPU: proves the script, not the speed")
    parser.add_argument("--work", type=Path, default=Path("/tmp/xdit-bench/work"), help="models and pictures (%(default)s)")
    parser.add_argument("--budget", type=float, default=530, help="seconds for everything (default: %(default)s)")
    given = parser.parse_args()
    gpus = [int(word[1:]) for word in given.what if word in ("x1", "x2", "x4")]
    phases = [word for word in given.what if word not in ("x1", "x2", "x4")]
    if unknown := set(phases) - set(LIMITS):
        parser.error(f"unknown phase {', '.join(sorted(unknown))}")
    deadline = time.monotonic() + given.budget
    out = Path(os.environ["OUT"])
    out.mkdir(parents=True, exist_ok=True)
    given.work.mkdir(parents=True, exist_ok=True)
    setting = on(gpus[0] if gpus else 4, given.tiny)
    bench = Bench(setting, given.work, out, deadline)
    bench.say("setting", vars(setting))
    bench.say("machine", machine())
    failed = []
    if phases and not (bench.models / "flux" / "model_index.json").exists():
        phases.append("build")
    for phase in [name for name in LIMITS if name in phases] or list(LIMITS):
        began = time.monotonic()
        bench.phase_ends = deadline if phase == "report" else min(deadline, began + LIMITS[phase])
        if setting is TINY:
            bench.phase_ends = deadline
        bench.result.pop(f"error_{phase}", None)
        try:
            if bench.left() < LEAST[phase]:
                raise RuntimeError(f"{bench.left():.0f} s left, it needs {LEAST[phase]}: run it in another call")
            getattr(bench, phase)()
        except Exception:  # noqa: BLE001 - the other phases may still tell something
            failed.append(phase)
            bench.say(f"error_{phase}", traceback.format_exc()[-4000:])
        bench.say(f"seconds_{phase}", round(time.monotonic() - began, 1))
        bench.keep_logs()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
