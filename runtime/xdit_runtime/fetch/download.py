"""Several files at once, each until it is whole and verified."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from xdit_runtime.fetch.choose import RepoFile
from xdit_runtime.fetch.exits import Exit, FetchError, StoppedError
from xdit_runtime.fetch.hub import Hub, UnavailableError
from xdit_runtime.fetch.options import Options
from xdit_runtime.fetch.progress import Progress, size
from xdit_runtime.fetch.store import Store
from xdit_runtime.fetch.verify import digest

_T = TypeVar("_T")
_LINE_EVERY = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Downloads:
    """The files of one run. `check` may raise at any time, which ends it; `say` prints a line."""

    def __init__(
        self,
        options: Options,
        hub: Hub,
        store: Store,
        check: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._options = options
        self._hub = hub
        self._store = store
        self._check = check
        self._say = say
        self._failed = threading.Event()

    def listing(self) -> list[RepoFile]:
        """All files of the repository. Raises FetchError."""
        return self._patiently("the list of files", lambda: 0, self._hub.listing)

    def all(self, files: Sequence[RepoFile]) -> dict[str, str]:
        """The sha256 of each file by path, when all are verified. Raises the first error of any file."""
        waiting = deque(sorted(files, key=lambda file: file.size))
        progress = Progress(
            sum(file.size for file in files), {file.path: self._store.present(file) for file in files}, time.monotonic()
        )
        digests: dict[str, str] = {}
        errors: list[BaseException] = []

        def take() -> RepoFile | None:
            try:
                return None if self._failed.is_set() else waiting.pop()
            except IndexError:
                return None

        def work() -> None:
            try:
                while (file := take()) is not None:
                    digests[file.path] = self._one(file, progress)
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                errors.append(error)
                self._failed.set()

        # daemons: one that hangs in a read must not hold the process when it is told to stop
        threads = [
            threading.Thread(target=work, name=f"file-{n}", daemon=True) for n in range(min(self._options.parallel, len(files)))
        ]
        for thread in threads:
            thread.start()
        line = time.monotonic() + _LINE_EVERY
        try:
            while not self._failed.is_set() and (alive := [thread for thread in threads if thread.is_alive()]):
                alive[0].join(0.05)
                # the threads look only when bytes come
                self._check()
                if time.monotonic() >= line:
                    self._say(progress.line(time.monotonic()))
                    line += _LINE_EVERY
        except BaseException:
            self._failed.set()
            raise
        finally:
            deadline = time.monotonic() + 3
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        if errors:
            raise errors[0]
        return digests

    def _one(self, file: RepoFile, progress: Progress) -> str:
        store, part = self._store, self._store.part(file)
        if store.verified(file):
            known = file.sha256 or digest(store.files / file.path, file, self._checkpoint)
            if known is not None:
                return known
        for attempt in (1, 2):
            self._patiently(
                file.path,
                lambda: part.stat().st_size if part.exists() else 0,
                lambda: self._hub.download(file, part, lambda count: progress.at(file.path, count), self._checkpoint),
            )
            found = digest(part, file, self._checkpoint)
            # between a long sleep and a rename or a deletion
            self._checkpoint()
            if found is not None:
                store.accept(file)
                self._say(f"{file.path}: {size(file.size)}, verified")
                return found
            part.unlink()
            progress.at(file.path, 0)
            self._say(f"{file.path}: wrong bytes" + (", once more from its beginning" if attempt == 1 else ""))
        raise FetchError(
            Exit.FETCH_FAILED,
            f"{self._options.endpoint} sent wrong bytes for {file.path} of {self._options.repo} twice (expected "
            f"{'git blob ' + file.blob if file.sha256 is None else 'sha256 ' + file.sha256}); the file was deleted. A proxy or mirror in between may hold a bad copy",
        )

    def _patiently(self, what: str, count: Callable[[], int], action: Callable[[], _T]) -> _T:
        options = self._options
        best, since, pause = count(), time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                return action()
            except UnavailableError as error:
                now = time.monotonic()
                if count() > best:
                    best, since, pause = count(), now, _FIRST_PAUSE
                if now + pause - since > options.patience:
                    raise FetchError(
                        Exit.HUB_UNREACHABLE,
                        f"no byte of {what} from {options.endpoint} for {now - since:.0f} s: {error}. Check that pods may reach it "
                        "(NetworkPolicy, proxy, DNS); what was downloaded is kept",
                    ) from error
                self._say(f"{what}: {error}; trying again in {pause:g} s")
                if self._failed.wait(pause):
                    raise StoppedError("another file failed") from error
                self._checkpoint()
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _checkpoint(self) -> None:
        if self._failed.is_set():
            raise StoppedError("another file failed")
        self._check()
