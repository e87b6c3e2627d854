"""Where everything is on the output volume. No other module builds such a path."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from xdit_api.job import Job

_SUFFIXES = {"png": "png", "webp": "webp", "jpeg": "jpg"}


def shard_of(name: str) -> str:
    """Two hexadecimal digits of a prompt's id or of an image's name. Ids that differ only in case are equal."""
    return hashlib.blake2b(name.partition(".")[0].lower().encode(), digest_size=1).hexdigest()


def is_shard(name: str) -> bool:
    """Whether a directory's name is a shard: desktops and NFS leave others."""
    return len(name) == 2 and all(c in "0123456789abcdef" for c in name)


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one output directory as one resource sees them."""

    root: Path
    suffix: str
    """Ending of image files, without the dot."""
    uid8: str
    """First 8 characters of the resource's uid."""
    sharded: bool = False
    """Images and thumbnails are in 256 directories. Decided once per output directory: see ledger.opening.settled."""

    @classmethod
    def of(cls, job: Job) -> "Layout":
        """The layout of a job's output directory, before it is known whether its images are sharded."""
        return cls(Path(job.output.path), _SUFFIXES[job.output.format], job.uid[:8])

    @property
    def images(self) -> Path:
        """Finished images."""
        return self.root / "images"

    def image(self, name: str) -> Path:
        """Final path of an image; name as in xdit_api.prompts.image_names."""
        return self._below(self.images, name) / f"{name}.{self.suffix}"

    def image_file(self, name: str) -> str:
        """The same relative to `images`."""
        return self.image(name).relative_to(self.images).as_posix()

    def _below(self, folder: Path, name: str) -> Path:
        return folder / shard_of(name) if self.sharded else folder

    def image_name(self, file_name: str) -> str | None:
        """The name of an image from its file name; None for other files."""
        name, dot, suffix = file_name.rpartition(".")
        return name if dot and name and suffix == self.suffix and not name.startswith(".") else None

    @property
    def manifest(self) -> Path:
        """One line an image; derived."""
        return self.root / "manifest.jsonl"

    @property
    def failures(self) -> Path:
        """One line a prompt that has no pictures and will get none; derived."""
        return self.root / "failed.jsonl"

    @property
    def index(self) -> Path:
        """The page that users open."""
        return self.root / "index.html"

    def page(self, number: int) -> Path:
        """Gallery page, from 1."""
        return self.root / "gallery" / f"page-{number}.html"

    @property
    def thumbnails(self) -> Path:
        """Small pictures of the gallery; derived."""
        return self.root / "gallery" / "thumbs"

    def thumbnail(self, name: str) -> Path:
        """Small picture of an image."""
        return self._below(self.thumbnails, name) / f"{name}.jpg"

    @property
    def own(self) -> Path:
        """Everything that is not for users."""
        return self.root / ".xdit"

    @property
    def identity(self) -> Path:
        """What all pictures of this directory have in common."""
        return self.own / "job.json"

    @property
    def decision(self) -> Path:
        """Whether images are sharded."""
        return self.own / "layout.json"

    @property
    def decisions(self) -> Path:
        """What the resource's first lane decided for all of its lanes."""
        return self.own / f"decisions-{self.uid8}.json"

    @property
    def prompts(self) -> Path:
        """The resource's prompts, every default filled in, frozen by its first lane."""
        return self.own / f"prompts-{self.uid8}.jsonl"

    @property
    def prompt_index(self) -> Path:
        """Offsets, id hashes and shapes of `prompts`; derived."""
        return self.own / f"prompts-{self.uid8}.bin"

    @property
    def start(self) -> Path:
        """What was there when the resource's first lane started."""
        return self.own / f"start-{self.uid8}.json"

    @property
    def claims(self) -> Path:
        """One file a claim, in 256 directories that appear when they are needed."""
        return self.own / "claims"

    def claim(self, prompt_id: str, generation: int) -> Path:
        """The claim of a generation, from 1; the highest one owns the prompt. Ids have no dots."""
        return self.claims / shard_of(prompt_id) / f"{prompt_id}.{generation}"

    def released(self, prompt_id: str, generation: int) -> Path:
        """Says that the owner of that generation gave the prompt back."""
        return self.claims / shard_of(prompt_id) / f"{prompt_id}.{generation}.released"

    def crashed(self, prompt_id: str, generation: int) -> Path:
        """Says that the owner of that generation died while it drew the prompt, and why."""
        return self.claims / shard_of(prompt_id) / f"{prompt_id}.{generation}.crashed"

    @property
    def failed(self) -> Path:
        """One file a prompt of this resource that failed. Another resource may try it again."""
        return self.own / f"failed-{self.uid8}"

    def failure(self, prompt_id: str) -> Path:
        """Why a prompt failed."""
        return self.failed / f"{prompt_id}.json"

    @property
    def lanes(self) -> Path:
        """One heartbeat file an incarnation of a lane."""
        return self.own / "lanes"

    @property
    def journals(self) -> Path:
        """One file an incarnation of a lane: what it did."""
        return self.own / "journal"

    def journal(self, incarnation: str) -> Path:
        """Journal of one incarnation."""
        return self.journals / f"{incarnation}.jsonl"

    @property
    def scratch(self) -> Path:
        """Files that have no final name yet; same file system as the images."""
        return self.own / "tmp"

    @property
    def logs(self) -> Path:
        """Logs of all pods."""
        return self.own / "logs"

    def make(self) -> None:
        """Create the directories. Raises OSError."""
        for path in (self.images, self.thumbnails, self.claims, self.failed, self.lanes, self.journals, self.scratch, self.logs):
            path.mkdir(parents=True, exist_ok=True)
