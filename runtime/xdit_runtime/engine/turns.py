"""CFG 2 for pipelines that call their transformer twice a step, with and without the prompt: each half of the ranks makes one.

The first call of a step computes both at once and the second call finds its result waiting, so the pipeline stays as it is
and adds them up in its own way.
"""

from collections.abc import Callable

import torch

from xdit_api.base import Json


class Turns:
    """The calls of one picture's steps."""

    def __init__(self, unconditional: Json) -> None:
        """unconditional: arguments in which the second call of a step differs from the first."""
        self._unconditional = unconditional
        self._waiting: torch.Tensor | None = None

    def take(self, compute: Callable[[Json], torch.Tensor]) -> torch.Tensor:
        """The result of the next call. `compute` makes it from the arguments that it gets, and the pipeline's own."""
        from xfuser.core.distributed import get_cfg_group, get_classifier_free_guidance_rank

        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            return waiting
        mine = compute(self._unconditional if get_classifier_free_guidance_rank() else {})
        conditional, self._waiting = get_cfg_group().all_gather(mine.contiguous(), separate_tensors=True)
        return conditional
