"""Tokens shared among the ranks of a lane: how a sequence is cut, and attention over the whole of it.

xfuser's own transformers fill sequences up with zeros that other tokens then look at, and some of them fail on lengths that
the ranks do not divide. Here the text is cut when the ranks divide it and kept whole on every rank otherwise, and what fills
the picture up is never looked at: pictures are the same at any degree and any size.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

_USERS = ("transformer_flux", "transformer_flux2", "transformer_qwen", "transformer_z_image")
"""Modules of xfuser whose attention asks for `USP` by that name."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What every rank's share of a joint sequence looks like: text, then picture."""

    front: int = 0
    """Tokens of text at the front that all ranks hold alike; 0 when each has its own part of the text, or there is none."""
    fill: int = 0
    """Tokens at the end of the last rank's share that are not there."""


class Cut:
    """The share of this rank in a sequence of `length` tokens."""

    def __init__(self, length: int) -> None:
        from xfuser.core.distributed import get_sequence_parallel_rank, get_sequence_parallel_world_size

        self._rank, self._ranks = get_sequence_parallel_rank(), get_sequence_parallel_world_size()
        self.fill = -length % self._ranks
        """Tokens to add at the end so that all shares are equal; fewer than there are ranks."""
        if length < self._ranks * self.fill:  # else more than the last share would be partly empty
            raise ValueError(f"{length} tokens are too few for {self._ranks} ranks")

    def share(self, tensor: torch.Tensor, dim: int) -> torch.Tensor:
        """This rank's part of `tensor`, whose dimension `dim` is the sequence."""
        if self.fill:
            shape = list(tensor.shape)
            shape[dim] = self.fill
            tensor = torch.cat([tensor, tensor.new_zeros(shape)], dim=dim)
        return tensor.chunk(self._ranks, dim=dim)[self._rank]

    def whole(self, share: torch.Tensor, dim: int) -> torch.Tensor:
        """The sequence of which every rank has brought its share."""
        from xfuser.core.distributed import get_sp_group

        joined: torch.Tensor = get_sp_group().all_gather(share.contiguous(), dim=dim)
        return joined.narrow(dim, 0, joined.shape[dim] - self.fill)


class Joint:
    """The shares of this rank in `text` and `picture` tokens that look at each other."""

    def __init__(self, text: int, picture: int) -> None:
        self._picture = Cut(picture)
        cut = Cut(text)
        self._text = None if cut.fill else cut
        self.layout = Layout(front=text if cut.fill else 0, fill=self._picture.fill)

    def text(self, tensor: torch.Tensor, dim: int) -> torch.Tensor:
        """This rank's part of something that has a row for each token of the text."""
        return tensor if self._text is None else self._text.share(tensor, dim)

    def picture(self, tensor: torch.Tensor, dim: int) -> torch.Tensor:
        """This rank's part of something that has a row for each token of the picture."""
        return self._picture.share(tensor, dim)

    def whole(self, picture: torch.Tensor, dim: int) -> torch.Tensor:
        """The picture of which every rank has brought its share."""
        return self._picture.whole(picture, dim)


_layout = Layout()


def lay_out(layout: Layout) -> None:
    """From now on `attend` takes sequences to be shared like that. Inside of `laid_out`, which puts an end to it."""
    global _layout
    _layout = layout


@contextmanager
def laid_out(layout: Layout) -> Iterator[None]:
    """Inside, `attend` takes sequences to be shared like that."""
    before = _layout
    lay_out(layout)
    try:
        yield
    finally:
        lay_out(before)


def install() -> None:
    """Make the attention of xfuser's newer transformers look at the layout."""
    for name in _USERS:
        vars(importlib.import_module(f"xfuser.model_executor.models.transformers.{name}"))["USP"] = attend


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **named: Any) -> torch.Tensor:  # noqa: ANN401
    """Attention of this rank's queries to the tokens of all ranks. B x heads x share x width, as xfuser's USP."""
    from xfuser.core.distributed import get_ring_parallel_world_size, get_ulysses_parallel_world_size
    from xfuser.model_executor.layers.usp import USP

    layout = _layout
    if layout == Layout():
        return USP(query, key, value, **named)
    front, others = layout.front, query.shape[2] - layout.front
    if layout.fill and get_ring_parallel_world_size() > 1:
        return _gathered(query, key, value, layout)
    more: dict[str, Any] = {}
    if layout.fill:
        more["attention_kwargs"] = {"valid_kv_len": others * get_ulysses_parallel_world_size() - layout.fill}
    if front:
        texts = [tensor[:, :, :front] for tensor in (query, key, value)]
        query, key, value = (tensor[:, :, front:] for tensor in (query, key, value))
        more |= dict(zip(("joint_query", "joint_key", "joint_value"), texts, strict=True)) | {"joint_strategy": "front"}
    return USP(query, key, value, **named, **more)


def _gathered(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout) -> torch.Tensor:
    """`attend` with keys and values of the whole ring at once: blocks of a ring must be equally long, so it cannot leave out
    what fills the last one up. Needs their memory, and only for sizes that the ranks do not divide.
    """
    from xfuser.core.distributed import get_ulysses_parallel_rank, get_ulysses_parallel_world_size
    from xfuser.model_executor.layers import usp

    ranks, front = get_ulysses_parallel_world_size(), layout.front
    query = usp._ft_c_input_all_to_all(query)  # noqa: SLF001 - xfuser has no public name for it
    seen = []
    for tensor in (key, value):
        text, picture = tensor[:, :, :front], usp._ft_c_input_all_to_all(tensor[:, :, front:])  # noqa: SLF001
        blocks = usp.ft_c.all_gather_tensor(picture.contiguous(), gather_dim=2, group=usp.PROCESS_GROUP.RING_PG)
        whole = usp._maybe_wait(blocks)  # noqa: SLF001
        whole = whole.narrow(2, 0, whole.shape[2] - layout.fill)
        seen.append(torch.cat([text.chunk(ranks, dim=1)[get_ulysses_parallel_rank()], whole], dim=2))
    made = usp.attention(query, *seen)
    back: torch.Tensor = usp._ft_c_output_all_to_all(made)  # noqa: SLF001
    return back
