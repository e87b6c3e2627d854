"""The cache directory: where half and whole models lie, and how one becomes the other.

<cache>/models--org--name/<revision>/              a whole model, with its manifest; appears by rename
<cache>/models--org--name/.fetch-<revision>/       work in progress
    parts/<name>-<checksum>                        a file that grows
    files/<path in the repository>                 a verified file
    claim.<n> beat.<n> released.<n>                who may write
"""

import errno
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from xdit_api import fetched
from xdit_runtime import modeldir
from xdit_runtime.fetch import manifest
from xdit_runtime.fetch.choose import RepoFile
from xdit_runtime.fetch.exits import Exit, FetchError
from xdit_runtime.fetch.manifest import Entry, Manifest
from xdit_runtime.fetch.options import Options
from xdit_runtime.fetch.progress import size
from xdit_runtime.volume import fsync_directory, write_fsynced


class Store:
    """One model in the cache. Every call may raise OSError or OutputVolumeError."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.final = options.root / fetched.directory(options.repo, options.revision)
        self.work = self.final.parent / f".fetch-{options.revision}"
        self.parts = self.work / "parts"
        self.files = self.work / "files"

    def complete(self) -> Manifest | None:
        """The manifest of a model that is whole and has all that was asked for. Raises FetchError for a stranger's directory."""
        found = manifest.read(self.final)
        if found is None:
            if not self.final.exists():
                return None
            # another run may have given it its name in between
            found = manifest.read(self.final)
        if found is None:
            raise FetchError(
                Exit.OUTPUT_NOT_WRITABLE,
                f"{self.final} exists, but was not made by xdit-fetch (it has no {manifest.NAME}): move it away, or use it as source.pvc",
            )
        whole = len(manifest.intact(self.final, found)) == len(found.files)
        return found if whole and set(self._options.include) <= set(found.include) else None

    def prepare(self) -> None:
        """Make the directories of the work."""
        if not self._options.root.is_dir():
            raise FetchError(Exit.INVALID_JOB, f"the cache directory {self._options.root} does not exist: mount the cache there")
        for path in (self.parts, self.files):
            path.mkdir(parents=True, exist_ok=True)

    def kept(self) -> tuple[Manifest | None, dict[str, Entry]]:
        """A whole model that is to be extended or repaired, and what is good in it."""
        found = manifest.read(self.final)
        return found, {} if found is None else manifest.intact(self.final, found)

    def part(self, file: RepoFile) -> Path:
        """Where a file grows. Two files with the same content grow apart."""
        name = hashlib.sha256(file.path.encode()).hexdigest()[:8]
        return self.parts / f"{name}-{file.sha256 or file.blob}"

    def verified(self, file: RepoFile) -> bool:
        """True when the file was fetched and verified before, by this run or an earlier one."""
        path = self.files / file.path
        return path.is_file() and path.stat().st_size == file.size

    def present(self, file: RepoFile) -> int:
        """Bytes of the file that need not be fetched again."""
        if self.verified(file):
            return file.size
        part = self.part(file)
        return min(part.stat().st_size, file.size) if part.is_file() else 0

    def accept(self, file: RepoFile) -> None:
        """Move a verified part to its place."""
        target = self.files / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        self.part(file).replace(target)

    def require_space(self, missing: int) -> None:
        """Raises FetchError when the volume has not room for so many bytes."""
        free = shutil.disk_usage(self._options.root).free
        if missing > free:
            raise FetchError(
                Exit.OUTPUT_VOLUME,
                f"the model cache {self._options.root} has {size(free)} free, and {size(missing)} are still to come: "
                f"free {size(missing - free)} or take a larger volume",
            )

    def publish(self, files: Sequence[RepoFile], digests: dict[str, str]) -> Manifest:
        """Give the verified files their final place. Raises FetchError when workers would refuse the model.

        A new model appears by one rename; one that is extended or repaired stays usable all the time.
        """
        before, good = self.kept()
        entries = good | {file.path: Entry(file.size, digests[file.path]) for file in files if file.path in digests}
        include = set(self._options.include) | set(before.include if before else ())
        made = Manifest(self._options.repo, self._options.revision, tuple(sorted(include)), entries)
        if before is None:
            self._check(self.files)
            write_fsynced(self.files / manifest.NAME, made.encode())
            for folder in [self.files, *(path for path in self.files.rglob("*") if path.is_dir())]:
                fsync_directory(folder)
            try:
                self.files.rename(self.final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT) or self.complete() is None:
                    raise
        else:
            for path in digests:
                target = self.final / path
                target.parent.mkdir(parents=True, exist_ok=True)
                (self.files / path).replace(target)
                fsync_directory(target.parent)
            self._check(self.final)
            temporary = self.final / f"{manifest.NAME}.new"
            write_fsynced(temporary, made.encode())
            temporary.replace(self.final / manifest.NAME)
            fsync_directory(self.final)
        fsync_directory(self.final.parent)
        shutil.rmtree(self.parts)
        return made

    def _check(self, directory: Path) -> None:
        try:
            modeldir.check(directory)
        except modeldir.ModelError as error:
            raise FetchError(
                Exit.INVALID_MODEL, f"{self._options.repo} was fetched, but workers would refuse it: {error}"
            ) from error
