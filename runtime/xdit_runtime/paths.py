"""Where everything is on the output volume. No other module builds such a path."""

from dataclasses import dataclass
from pathlib import Path

from xdit_api.job import Job

_SUFFIXES = {"png": "png", "webp": "webp", "jpeg": "jpg"}


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one output directory as one resource sees them."""

    root: Path
    suffix: str
    """Ending of image files, without the dot."""
    uid8: str
    """First 8 characters of the resource's uid."""

    @classmethod
    def of(cls, job: Job) -> "Layout":
        """The layout of a job's output directory."""
        return cls(Path(job.output.path), _SUFFIXES[job.output.format], job.uid[:8])

    @property
    def images(self) -> Path:
        """Finished images."""
        return self.root / "images"

    def image(self, name: str) -> Path:
        """Final path of an image; name as in xdit_api.prompts.image_names."""
        return self.images / f"{name}.{self.suffix}"

    def image_name(self, file_name: str) -> str | None:
        """The name of an image from its file name; None for other files."""
        name, dot, suffix = file_name.rpartition(".")
        return name if dot and name and suffix == self.suffix and not name.startswith(".") else None

    @property
    def manifest(self) -> Path:
        """One line an image; derived."""
        return self.root / "manifest.jsonl"

    def page(self, number: int) -> Path:
        """Gallery page, from 1; the first is the one that users open."""
        return self.root / "index.html" if number == 1 else self.root / "gallery" / f"page-{number}.html"

    @property
    def thumbnails(self) -> Path:
        """Small pictures of the gallery; derived."""
        return self.root / "gallery" / "thumbs"

    def thumbnail(self, name: str) -> Path:
        """Small picture of an image."""
        return self.thumbnails / f"{name}.jpg"

    @property
    def own(self) -> Path:
        """Everything that is not for users."""
        return self.root / ".xdit"

    @property
    def identity(self) -> Path:
        """What all pictures of this directory have in common."""
        return self.own / "job.json"

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
        """One file a claim."""
        return self.own / "claims"

    def claim(self, prompt_id: str, generation: int) -> Path:
        """The claim of a generation, from 1; the highest one owns the prompt. Ids have no dots."""
        return self.claims / f"{prompt_id}.{generation}"

    def released(self, prompt_id: str, generation: int) -> Path:
        """Says that the owner of that generation gave the prompt back."""
        return self.claims / f"{prompt_id}.{generation}.released"

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
        for path in (self.images, self.thumbnails, self.claims, self.lanes, self.journals, self.scratch, self.logs):
            path.mkdir(parents=True, exist_ok=True)
