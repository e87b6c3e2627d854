"""Parts of a model that wait in host memory and visit the device while they compute.

Host memory keeps the only full copy of a waiting part, locked in place where a GPU reads it; on the device its parameters are
empty tensors of the same dtype, so that pipelines still find everything where they expect it. Nothing is ever copied back.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xdit_runtime.engine.base import PlanError

Offload = Literal["None", "TextEncoder", "Model"]
_ENTRIES = ("forward", "encode", "decode")
"""Methods of a part that compute."""
_ALIGNED = 256
"""Bytes; where every weight may begin."""


class Room:
    """The place on the device for which parts take turns: whoever visits sends the one before home."""

    def __init__(self, wanted: Offload, device: torch.device) -> None:
        self._wanted = wanted
        self._device = device
        self._guest: Guest | None = None

    def waits(self, name: str) -> bool:
        """Whether the part of that name in model_index.json is to be loaded into host memory, and then handed to `take`."""
        return self._wanted == "Model" or (self._wanted == "TextEncoder" and name.startswith("text_encoder"))

    def take(self, part: nn.Module) -> nn.Module:
        """The part, which now waits; it is in host memory."""
        guest = Guest(part, self._device)
        for name in _ENTRIES:
            if callable(method := getattr(part, name, None)):
                setattr(part, name, self._visiting(method, guest))
        return part

    def _visiting(self, method: Callable[..., Any], guest: "Guest") -> Callable[..., Any]:
        @functools.wraps(method)
        def visit(*args: Any, **named: Any) -> Any:  # noqa: ANN401
            if self._guest is not guest:
                self._empty()
                self._guest = guest
            guest.come()
            try:
                return method(*args, **named)
            finally:
                # the others are always there, and need what it takes
                if self._wanted == "TextEncoder":
                    self._empty()

        return visit

    def _empty(self) -> None:
        if self._guest is not None:
            self._guest.leave()
            self._guest = None


class Guest:
    """The parameters of one part."""

    def __init__(self, part: nn.Module, device: torch.device) -> None:
        self._device = device
        self._present = False
        parameters = list(part.parameters())
        self._homes = list(zip(parameters, _locked([parameter.data for parameter in parameters], device), strict=True))
        self.leave()
        part.to(device)  # what else it has, such as tables, is small and stays there

    def come(self) -> None:
        """Bring the weights that are not there onto the device; in the order of its work, without waiting for it."""
        if self._present:
            return
        for parameter, home in self._homes:
            parameter.data = home.to(self._device, non_blocking=True)
        self._present = True

    def leave(self) -> None:
        """Give their memory on the device back."""
        self._present = False
        for parameter, home in self._homes:
            parameter.data = torch.empty(0, dtype=home.dtype, device=self._device)


def _locked(weights: list[Tensor], device: torch.device) -> list[Tensor]:
    """Copies in one piece of host memory, which a GPU may read by itself.

    torch would take a power of two for each. Raises PlanError when the memory cannot be locked.
    """
    places = [0]
    for weight in weights:
        places.append(places[-1] + -(-weight.nbytes // _ALIGNED) * _ALIGNED)
    memory = torch.empty(places[-1], dtype=torch.uint8)
    if device.type == "cuda" and memory.nbytes:
        code = int(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.nbytes, 0))
        if code:
            size = f"{memory.nbytes / 2**30:.1f} GiB"
            raise PlanError(
                f"engine.offload cannot lock {size} of host memory (CUDA error {code}); use None, or ask for more memory"
            )
    homes = [
        memory[place : place + weight.nbytes].view(weight.dtype).view(weight.shape)
        for place, weight in zip(places, weights, strict=False)
    ]
    for home, weight in zip(homes, weights, strict=True):
        home.copy_(weight)
    return homes
