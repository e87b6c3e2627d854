"""Reading the user's prompt file: everything in it is checked before anything is loaded."""

from collections.abc import Iterator
from pathlib import Path

from xdit_api.job import Job
from xdit_api.prompts import Problem, Prompt, parse, summary


class PromptFileError(Exception):
    """The prompt file cannot be used; the text names the file and every bad line (the first 20 in full)."""

    def __init__(self, text: str, problems: list[Problem]) -> None:
        super().__init__(text)
        self.problems = problems
        """All of them, for the log."""


def read_source(job: Job) -> Iterator[Prompt]:
    """The prompts of the job's file, in order. Raises PromptFileError, for bad lines after the last line was read."""
    path = Path(job.prompts.path)
    problems: list[Problem] = []
    try:
        # surrogates keep the line numbers right when a byte is not UTF-8
        with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
            for item in parse(job.prompts.format, _checked(lines, problems), job.defaults):
                if isinstance(item, Problem):
                    problems.append(item)
                elif not problems:
                    yield item
    except OSError as error:
        raise PromptFileError(f"{path}: cannot read the prompt file: {error.strerror}", []) from error
    if problems:
        problems.sort(key=lambda p: p.line)
        raise PromptFileError(summary(str(path), problems), problems)


def _checked(lines: Iterator[str], problems: list[Problem]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if line.isascii() or not any("\udc80" <= c <= "\udcff" for c in line):
            yield line
        else:
            problems.append(Problem(number, "not UTF-8: save the file with that encoding"))
            yield "\n"
