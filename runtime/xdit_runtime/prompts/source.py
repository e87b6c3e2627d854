"""Reading the user's prompt file: everything in it is checked before anything is loaded."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from xdit_api.job import Job
from xdit_api.prompts import Problem, Prompt, Setting, parse
from xdit_runtime.prompts.images import Images


class PromptFileError(Exception):
    """The prompt file cannot be used; the text names the file and the first 20 bad lines."""

    def __init__(self, text: str, problems: Sequence[Problem]) -> None:
        super().__init__(text)
        self.problems = list(problems)
        """The first 1,000, for the log."""


def setting_of(job: Job) -> Setting:
    """What the prompts of a job depend on besides their lines."""
    return Setting(job.defaults, {lora.name: lora.scale for lora in job.model.loras})


def read_source(job: Job) -> Iterator[Prompt | Problem]:
    """The prompts of the job's file in order, with a Problem in the place of every bad line.

    Input images are looked at; ids may still be equal. Raises PromptFileError when the file or an image cannot be read.
    """
    path = Path(job.prompts.path)
    images = Images(path.parent, path.parent if job.prompts.root is None else Path(job.prompts.root))
    try:
        with path.open("rb") as file:
            for item in parse(job.prompts.format, file, setting_of(job)):
                yield images.checked(item) if isinstance(item, Prompt) and item.inputs else item
    except OSError as error:
        name = str(error.filename or path)
        what = "prompt file" if name == str(path) else "input image"
        raise PromptFileError(f"{name}: cannot read the {what}: {error.strerror}", []) from error
