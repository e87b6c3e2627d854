"""One denoising step as a CUDA graph: thousands of kernels and messages between GPUs, started by one call."""

from collections.abc import Callable

import torch

_WARM_UPS = 3
"""Calls before the capture: libraries choose their kernels and `torch.compile` compiles in the first ones."""


class StepGraph:
    """A function of tensors whose shapes never change, captured with its first arguments.

    Calls copy their arguments into the captured ones; the result is the same tensor each time, valid until the next call.
    All ranks of a lane must make it and call it at the same time when the function sends messages.
    """

    def __init__(self, function: Callable[..., torch.Tensor], arguments: tuple[torch.Tensor, ...]) -> None:
        self._arguments = tuple(argument.clone() for argument in arguments)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                function(*self._arguments)
        torch.cuda.current_stream().wait_stream(aside)
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # other threads (writer, heart) go on meanwhile
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._result = function(*self._arguments)

    def __call__(self, *arguments: torch.Tensor) -> torch.Tensor:
        """The function's result for these arguments."""
        for mine, theirs in zip(self._arguments, arguments, strict=True):
            mine.copy_(theirs)
        self._graph.replay()
        return self._result
