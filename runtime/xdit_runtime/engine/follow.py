"""Progress of a pipeline's call, seen through its progress bar: all pipelines have one, on every rank and in every mode, while
callbacks are only called on some ranks, once a patch, or not at all.
"""

from typing import Any

from xdit_runtime.engine.base import OnStep


class _Steps:
    """Looks like tqdm to a pipeline."""

    def __init__(self, total: int, on_step: OnStep) -> None:
        self._total = total
        self._on_step = on_step
        self._done = 0

    def __enter__(self) -> "_Steps":
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing to tidy up."""

    def update(self) -> None:
        """One denoising step is done, or at least handed to the device."""
        self._done += 1
        self._on_step(self._done, self._total)


def follow(pipeline: Any, on_step: OnStep) -> None:  # noqa: ANN401 - diffusers is not typed
    """Make the calls of `pipeline` tell `on_step` of every denoising step."""
    pipeline.progress_bar = lambda total: _Steps(total, on_step)
