"""Imported once by the process that tests fork from: what a run of `xdit-fetch` imports, in the environment that it wants."""

import os

from xdit_runtime.fetch import environment, main
from xdit_runtime.fetch.options import HUB

environment.apply(os.environ, HUB)

from xdit_runtime.fetch import download  # noqa: E402

__all__ = ["download", "main"]
