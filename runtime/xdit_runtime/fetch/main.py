"""`xdit-fetch`: from the command line to a model in the cache and a result in the termination message."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from xdit_api import pod
from xdit_api.report import Outcome, Result
from xdit_runtime.fetch import choose, claim, environment
from xdit_runtime.fetch.exits import Exit, FetchError, StoppedError, of_os_error
from xdit_runtime.fetch.manifest import Manifest
from xdit_runtime.fetch.options import Options, parse, read_token
from xdit_runtime.fetch.progress import size
from xdit_runtime.fetch.store import Store
from xdit_runtime.settings import ENV_TERMINATION_LOG
from xdit_runtime.volume import OutputVolumeError

Say = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit code."""
    # workers run under other users and read what is made here; a group that shares the cache may go on with it
    os.umask(0o002)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: _on_signal(stop, number, _frame))
    secrets: list[str] = []

    def say(text: str) -> None:
        for secret in secrets:
            text = text.replace(secret, "***")
        sys.stdout.write(f"[fetch] {text}\n")
        sys.stdout.flush()

    root = Path()
    outcome: Outcome = "failed"
    try:
        options = parse(arguments, os.environ)
        root = options.root
        token = read_token(options, os.environ)
        secrets += [token] if token else []
        environment.apply(os.environ, options.endpoint)
        exit, message = Exit.OK, fetch(options, token, stop, say)
        outcome = "drained"
    except FetchError as error:
        exit, message = error.exit, str(error)
    except StoppedError as error:
        exit, message, outcome = Exit.STOPPED, str(error), "stopped"
    except OutputVolumeError as error:
        cause = error.__cause__
        found = of_os_error(cause if isinstance(cause, OSError) else OSError(str(error)), root)
        exit, message = found.exit, str(found)
    except OSError as error:
        found = of_os_error(error, root)
        exit, message = found.exit, str(found)
    reason = "Fetched" if exit == Exit.OK else exit.reason
    say(f"{reason}: {message}")
    for secret in secrets:
        message = message.replace(secret, "***")
    _report(Result(outcome=outcome, exit_code=int(exit), reason=reason, message=message, job_uid="", pod=_pod(), time=_now()))
    return int(exit)


def fetch(options: Options, token: str | None, stop: threading.Event, say: Say) -> str:
    """Put the model into the cache; a sentence about it. Raises FetchError, StoppedError, OutputVolumeError, OSError."""
    store = Store(options)
    found = store.complete()
    if found is not None:
        return f"{store.final} is complete: {_summary(found)}; nothing to fetch"
    store.prepare()
    while True:
        held = claim.take(store.work, options.lease, lambda: store.complete() is not None, _waiter(stop), _teller(say))
        if held is None:
            found = store.complete()
            return f"{store.final} is complete, fetched by another run{': ' + _summary(found) if found else ''}"
        try:
            # again, now that nobody else takes them away
            store.prepare()
            made = _download(options, token, store, held, stop, say)
            return f"{store.final} is complete: {_summary(made)}"
        except (claim.LostError, OSError, OutputVolumeError):
            # who sleeps while another takes over may find its files gone before it finds its claim gone
            if not held.lost:
                raise
            say("this run fell silent for too long, so another one may have taken over; joining it")
        finally:
            held.release()


def _download(options: Options, token: str | None, store: Store, held: claim.Claim, stop: threading.Event, say: Say) -> Manifest:
    # reads the environment when it is imported, and a model that is there does not need it
    from xdit_runtime.fetch.download import Downloads
    from xdit_runtime.fetch.hub import Hub

    def check() -> None:
        if stop.is_set():
            raise StoppedError("stopped by a signal; what was downloaded is kept")
        held.check()

    downloads = Downloads(options, Hub(options, token), store, check, say)
    listing = downloads.listing()
    index = choose.require_index(listing, options.repo)
    store.require_space(index.size)
    digests = downloads.all([index])
    wanted = choose.files(listing, (store.files / index.path).read_bytes(), options.repo, options.include)
    good = store.kept()[1]
    missing = [file for file in wanted if file.path not in good and file.path != index.path]
    _announce(options, wanted, missing, listing, store, say)
    store.require_space(sum(file.size - store.present(file) for file in missing))
    digests |= downloads.all(missing)
    check()
    return store.publish([index, *missing], digests)


def _announce(
    options: Options,
    wanted: Sequence[choose.RepoFile],
    missing: Sequence[choose.RepoFile],
    listing: Sequence[choose.RepoFile],
    store: Store,
    say: Say,
) -> None:
    here = sum(store.present(file) for file in missing)
    total = sum(file.size for file in wanted)
    say(
        f"{options.repo} at {options.revision} from {options.endpoint}: {len(wanted)} files, {size(total)}; "
        f"to fetch: {size(sum(file.size for file in missing) - here)}"
    )
    for file in wanted:
        say(f"  {file.path}  {size(file.size)}")
    left = len(listing) - len(wanted)
    if left:
        say(f"left out: {left} files, {size(sum(file.size for file in listing) - total)}, that no part of the model needs")


def _summary(found: Manifest) -> str:
    return f"{found.repo} at {found.revision}, {len(found.files)} files, {size(found.size)}"


def _on_signal(stop: threading.Event, number: int, _frame: FrameType | None) -> None:
    # raised once, so that no wait or read of the main thread goes on; what cleans up after it is left alone
    if not stop.is_set():
        stop.set()
        raise StoppedError(
            f"stopped by {signal.Signals(number).name}; what was downloaded is kept, the next run goes on from there"
        )


def _waiter(stop: threading.Event) -> Callable[[float], None]:
    def wait(seconds: float) -> None:
        if stop.wait(seconds):
            raise StoppedError("stopped while another run was downloading")

    return wait


def _teller(say: Say) -> Callable[[str], None]:
    told: set[str] = set()

    def tell(host: str) -> None:
        if host not in told:
            told.add(host)
            say(f"{host} is downloading this model to the same cache; waiting for it")

    return tell


def _report(result: Result) -> None:
    name = os.environ.get(ENV_TERMINATION_LOG) or str(pod.TERMINATION_LOG)
    if ENV_TERMINATION_LOG in os.environ or Path(name).exists():
        Path(name).write_text(result.encode(), encoding="utf-8")


def _pod() -> str:
    return os.environ.get(pod.ENV_POD_NAME, "")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
