"""`xdit-worker`: the main process of a worker pod. Preflight, lanes, result; a later life of the container only waits.

It imports no torch: a job that cannot run, or is done, is told within two seconds.
"""

import argparse
import dataclasses
import os
import signal
import sys
import threading
import traceback
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from xdit_api import pod
from xdit_api.report import Exit, Progress
from xdit_runtime import life, processes
from xdit_runtime.attempt import Attempt
from xdit_runtime.ending import Ending, RefusedError, StopRequestedError, failed, result_of
from xdit_runtime.logs import Level, Log
from xdit_runtime.preflight import read_job
from xdit_runtime.progress import serve
from xdit_runtime.settings import Settings
from xdit_runtime.state import State
from xdit_runtime.table import render
from xdit_runtime.volume import OutputVolumeError
from xdit_runtime.watchdog import Watchdog, dump_and_leave

_LEAST_PATIENCE = 300.0
"""Seconds that preflight and the final gallery may take, however short the job's stallSeconds is."""

_HELP = f"""\
Runs one pod's part of a batch of images: checks everything that can be checked, starts the ranks, watches them, and says
how it went.

How a running worker does, as a table: xdit-worker status (in a pod: kubectl exec POD -- xdit-worker status)

Without Kubernetes, on one machine:
  xdit-worker run --job job.json
The job file is the one that the operator writes ({pod.JOB_FILE}); its fields are those of xdit_api.job.Job. Pictures,
manifest.jsonl and index.html appear in its output.path. Ctrl-C stops after the image in work; run it again to go on.

In a pod the operator sets the environment:
  XDIT_JOB, XDIT_REPLICA, XDIT_ATTEMPT, NODE_RANK, MASTER_ADDR, MASTER_PORT, POD_NAME, POD_UID
For other places:
  XDIT_LIFE_DIR         outlives the container; the first life runs, later ones only show its result ({pod.LIFE_DIR})
  XDIT_TERMINATION_LOG  where the result goes ({pod.TERMINATION_LOG})
  XDIT_HTTP_PORT        /progress, /metrics, /healthz ({pod.HTTP_PORT}; 0: any free one)
  XDIT_PEER_PORT        supervisors of a replica over several pods ({pod.PEER_PORT})
  XDIT_PEER_DEADLINE    seconds in which the other pods must appear (900)
  XDIT_GRACE            seconds from SIGTERM until ranks are killed (graceSeconds of the job file)
  XDIT_LANE_RESTARTS    restarts in a row of a lane that makes no image (3); a lane over several pods is never restarted
  XDIT_LANE_BACKOFF     seconds before the first restart, twice as long before each further one (1)
  XDIT_LOG_FORMAT       text or json (text)
For tests:
  XDIT_PATIENCE         seconds that the supervisor itself may stand still (stallSeconds, at least 300)
  XDIT_RANK_MODULE      the module that a rank runs (xdit_runtime.worker)
  XDIT_LAUNCH_MODULE    the module that starts the ranks (torch.distributed.run)

Exit codes: {", ".join(f"{int(e)} {e.reason}" for e in Exit)}.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit code."""
    parser = argparse.ArgumentParser("xdit-worker", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "command",
        nargs="?",
        choices=["run", "status"],
        default="run",
        help="run: the default; status: how a worker in this pod does",
    )
    parser.add_argument("--job", type=Path, help=f"the job file (default: $XDIT_JOB, then {pod.JOB_FILE})")
    options = parser.parse_args(arguments)
    try:
        settings = Settings.read(os.environ, options.job)
    except ValueError as error:
        parser.error(str(error))
    return _status(settings.http_port) if options.command == "status" else run(settings)


def _status(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=10) as answer:
            print(render(Progress.model_validate_json(answer.read())))  # noqa: T201 - what the command is for
    except OSError as error:
        print(f"no worker answers on port {port}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def run(settings: Settings) -> int:
    """One life of the container; its exit code."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    processes.adopt_orphans()
    log = Log(style=settings.log_style)
    state = State(settings.replica, settings.attempt)
    _serve(state, settings, log)
    if not life.begin(settings.life_dir):
        return _park(settings, state, stop, log)

    def bark(still: float) -> None:
        text = f"the supervisor has stood still for {still:.0f} s in phase {state.phase}: a volume does not answer"
        log.say(text, level="error")
        processes.kill_below(os.getpid())
        dump_and_leave(_report(failed(Exit.STALLED, text), settings, state, "", log))

    watchdog = Watchdog(bark)
    ending, log_path = _live(settings, state, stop, log, watchdog)
    if ending.counts is None and state.counts.total:
        ending = dataclasses.replace(ending, counts=state.progress().counts)
    watchdog.stop()
    code = _report(ending, settings, state, log_path, log)
    log.close()
    return code


def _report(ending: Ending, settings: Settings, state: State, log_path: str, log: Log) -> int:
    """Say how it ended, everywhere; the exit code."""
    result = result_of(ending, settings, state.job_uid, log_path)
    state.result, state.phase = result, "Finished"
    # a node whose disk is full must not keep us from saying it in the other places
    try:
        if settings.termination_log is not None:
            settings.termination_log.write_text(result.encode(), encoding="utf-8")
        life.store(settings.life_dir, result)
    except (OSError, OutputVolumeError) as error:
        log.say(f"the result could not be kept: {error}", level="error")
    counts = "" if result.counts is None else f", {result.counts.completed}/{result.counts.total} images"
    level: Level = "error" if result.outcome == "failed" else "info"
    log.say(f"{result.reason}{counts}{': ' if result.message else ''}{result.message}", level=level)
    return result.exit_code


def _serve(state: State, settings: Settings, log: Log) -> None:
    try:
        server = serve(state.progress, settings.http_port)
    except OSError as error:
        log.say(f"no HTTP on port {settings.http_port}: {error}")
    else:
        log.say(
            f"pod {settings.pod}, replica {settings.replica}, attempt {settings.attempt}; HTTP on port {server.server_address[1]}"
        )


def _live(settings: Settings, state: State, stop: threading.Event, log: Log, watchdog: Watchdog) -> tuple[Ending, str]:
    """The first life: how it ended, and the log's place on the claim."""
    attempt: Attempt | None = None
    try:
        job = read_job(settings.job_path)
        state.job_uid = job.uid
        watchdog.start(max(job.stall_seconds, _LEAST_PATIENCE) if settings.patience is None else settings.patience)
        attempt = Attempt(settings, job, state, stop, log, watchdog.alive)
        ending = attempt.run()
    except RefusedError as error:
        ending = error.ending
    except StopRequestedError:
        ending = Ending("stopped", Exit.STOPPED, "stopped before there was work")
    except OutputVolumeError as error:
        ending = failed(Exit.OUTPUT_VOLUME, f"output volume: {error}")
    except Exception as error:  # noqa: BLE001 - whatever it was, the operator must hear of it
        log.say(traceback.format_exc(), level="error")
        ending = failed(Exit.WORKER_FAILED, f"the supervisor failed: {type(error).__name__}: {error}")
    processes.kill_below(os.getpid())
    if attempt is not None:
        attempt.part(ending)
    return ending, "" if attempt is None else attempt.log_path


def _park(settings: Settings, state: State, stop: threading.Event, log: Log) -> int:
    """A later life: show the first one's result, hold nothing, end when told to."""
    state.result = life.stored(settings.life_dir)
    state.phase = "Parked"
    if state.result is None:
        log.say("an earlier life of this container was killed before it could say why; waiting to be removed")
    else:
        state.job_uid = state.result.job_uid
        log.say(f"this pod's work ended in an earlier life of the container ({state.result.reason}); waiting to be removed")
    while not stop.wait(1.0):
        processes.reap(())
    return 0


if __name__ == "__main__":
    sys.exit(main())
