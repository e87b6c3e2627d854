"""What every format yields."""

from typing import NamedTuple


class Record(NamedTuple):
    """The values of one prompt as they were written."""

    line: int
    """Where it begins, from 1."""
    number: int
    """What it is called when it has no id: its line, in JSON its place in the list from 1."""
    value: object
    """A dict unless somebody wrote something else."""
