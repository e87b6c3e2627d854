"""PipeFusion of xfuser 0.7.0 without its two ways to hang.

A stage hands its tensors to the next one with sends that it does not wait for. xfuser (1) drops the handle of such a send:
gloo forgets a send whose handle is gone before the peer has asked for it; and (2) announces shapes with sends that it does
wait for: the first and the last stage announce to each other at the same time, and neither gets to receive. Here handles
are kept until their sends are done, and shapes go over the CPU's group, where nobody waits for a send or for a GPU.
"""

from typing import Any

import torch
import torch.distributed as dist

_DIMENSIONS = 7
"""Most dimensions of a tensor that stages exchange."""


def install() -> None:
    """Patch xfuser, once. It must be imported already, patched for its device."""
    from xfuser.core.distributed.group_coordinator import PipelineGroupCoordinator as Group

    patches = {
        "pipeline_isend": _send,
        "pipeline_isend_skip": _send_skip,
        "_communicate_shapes": _exchange_shapes,
    }
    for name, patch in patches.items():
        setattr(Group, name, patch)


def _keep(group: Any, work: Any, tensor: torch.Tensor) -> None:  # noqa: ANN401 - xfuser is not typed
    """Hold on to a send and what it sends until it is done."""
    kept = vars(group).setdefault("_xdit_sends", [])
    kept[:] = [(earlier, sent) for earlier, sent in kept if not earlier.is_completed()]
    kept.append((work, tensor))


def _send(self: Any, tensor: torch.Tensor, name: str = "latent", segment_idx: int = -1) -> None:  # noqa: ANN401
    tensor = tensor.contiguous()
    self._check_shape_and_buffer(tensor_send_to_next=tensor, name=name, segment_idx=segment_idx)
    _keep(self, self._pipeline_isend(tensor), tensor)


def _send_skip(self: Any, tensor: torch.Tensor) -> None:  # noqa: ANN401
    tensor = tensor.contiguous()
    _keep(self, self._pipeline_isend_skip(tensor), tensor)


def _exchange_shapes(self: Any, tensor_send_to_next: torch.Tensor | None = None, recv_prev: bool = False) -> torch.Size:  # noqa: ANN401
    """Tell the next stage a shape, hear one from the previous stage, or both; the shape that was heard."""
    if tensor_send_to_next is not None:
        shape = list(tensor_send_to_next.shape)
        message = torch.tensor([len(shape), *shape, *[0] * (_DIMENSIONS - len(shape))])
        _keep(self, dist.isend(message, dst=self.next_rank, group=self.cpu_group), message)
    if not recv_prev:
        return torch.Size([])
    heard = torch.empty(1 + _DIMENSIONS, dtype=torch.int64)
    dist.recv(heard, src=self.prev_rank, group=self.cpu_group)
    count, *dimensions = heard.tolist()
    return torch.Size(dimensions[:count])
