"""Steps that are left out because little changed since the last one that was computed. Lossy.

FBCache computes the first block of every step: when what it adds is close to what it added the last time, the other blocks add
what they added then. TeaCache computes no block: it looks at the first block's input, scaled for the step, and a polynomial,
fitted to FLUX.1, tells from it how much the output will change; changes add up until a step is computed.
diffusers has the first one, for one rank and not for models whose last blocks hand over one joined stream or no text.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from diffusers.hooks import HookRegistry, ModelHook
from diffusers.hooks._helpers import TransformerBlockRegistry
from diffusers.hooks.hooks import BaseState, CacheContext, StateManager
from torch import Tensor, nn

Kind = Literal["TeaCache", "FBCache"]
Agree = Callable[[Tensor], Tensor]
"""The sum of a tensor over the ranks that share a picture, the same to the bit on each of them."""

THRESHOLDS: dict[Kind, float] = {"TeaCache": 0.25, "FBCache": 0.08}
"""Change, relative to the size of what changes, below which a step is left out; as their authors choose for FLUX.1."""
_FLUX_CHANGE = (4.98651651e02, -2.83781631e02, 5.58554382e01, -3.82021401e00, 2.64230861e-01)
"""Coefficients of TeaCache's authors for FLUX.1, of the highest power first."""
_BLOCKS = ("transformer_blocks", "single_transformer_blocks", "layers")
"""Blocks in the order in which a transformer goes through them."""

Streams = tuple[Tensor, Tensor | None]
"""The picture's tokens, and the text's where a block hands them on beside."""


class StepCache:
    """A transformer that may leave steps out."""

    def __init__(self, transformer: nn.Module, kind: Kind, agree: Agree | None = None) -> None:
        """agree: None where one rank has the whole picture. Raises ValueError for a transformer whose blocks are not known."""
        self._states = StateManager(_State)
        blocks = [block for name in _BLOCKS for block in getattr(transformer, name, ())]
        decide = Decision(kind, agree)
        for index, block in enumerate(blocks):
            place = _First(self._states, decide) if index == 0 else _Other(self._states, last=index + 1 == len(blocks))
            HookRegistry.check_if_exists_or_initialize(block).register_hook(place, "xdit-step-cache")
        HookRegistry.check_if_exists_or_initialize(transformer).invalidate_child_registries_cache()

    def begin(self) -> None:
        """A new picture, which knows nothing of the one before. Called on every rank before each call of the pipeline."""
        self._states.reset()
        # for pipelines that do not name the halves of guidance, as they compute them together or have one
        self._states.set_context(CacheContext("both"))


def among_ranks() -> Agree:
    """Sums over the ranks that share the tokens of a picture. xfuser's groups are there."""
    from xfuser.core.distributed import get_sp_group

    def agree(sizes: Tensor) -> Tensor:
        summed: Tensor = get_sp_group().all_reduce(sizes)
        return summed

    return agree


class _State(BaseState):  # type: ignore[misc]
    """What is known of one half of guidance."""

    def __init__(self) -> None:
        self.seen: Tensor | None = None
        """What the decision compares with."""
        self.change = 0.0
        """TeaCache's sum since the last step that was computed."""
        self.skip = False
        """Whether the other blocks of this step are left out."""
        self.start: Streams | None = None
        """Where the blocks that may be left out began in the last step that was computed."""
        self.added: Streams | None = None
        """What those blocks added to it."""

    def reset(self) -> None:
        """Nothing: the states are thrown away."""


class Decision:
    """Whether a step is left out."""

    def __init__(self, kind: Kind, agree: Agree | None) -> None:
        self.kind = kind
        self._agree = agree

    def skip(self, state: _State, now: Tensor) -> bool:
        """now: what the first block adds (FBCache), or gets (TeaCache)."""
        seen = state.seen
        if seen is None or state.added is None:
            state.seen = now
            return False
        change = self._difference(now, seen)
        if self.kind == "FBCache":
            skip = change < THRESHOLDS["FBCache"]
            state.seen = seen if skip else now
            return skip
        state.change += _polynomial(change)
        skip = state.change < THRESHOLDS["TeaCache"]
        state.change, state.seen = (state.change if skip else 0.0), now
        return skip

    def _difference(self, now: Tensor, seen: Tensor) -> float:
        sizes = torch.stack([(now - seen).abs().sum(dtype=torch.float32), seen.abs().sum(dtype=torch.float32)])
        change, whole = (sizes if self._agree is None else self._agree(sizes)).tolist()
        return float(change / whole) if whole else float("inf")


def _polynomial(x: float) -> float:
    value = 0.0
    for coefficient in _FLUX_CHANGE:
        value = value * x + coefficient
    return value


class _Hook(ModelHook):  # type: ignore[misc]
    """In place of a block's forward."""

    _is_stateful = True
    fn_ref: Any

    def __init__(self, states: StateManager) -> None:
        super().__init__()
        self.states = states

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """See ModelHook."""
        known = TransformerBlockRegistry.get(type(module))
        self.pair = known.return_encoder_hidden_states_index is not None
        return module

    def reset_state(self, module: nn.Module) -> nn.Module:
        """`StepCache.begin` does, also after a call that failed."""
        return module

    def given(self, args: tuple[Any, ...], named: dict[str, Any]) -> Streams:
        """What the block got."""
        picture = args[0] if args else named.get("hidden_states", named.get("x"))
        if not self.pair:
            return picture, None
        return picture, args[1] if len(args) > 1 else named["encoder_hidden_states"]

    def made(self, streams: Streams) -> Any:  # noqa: ANN401
        """The same as the block would hand it on: pairs have the text first."""
        return (streams[1], streams[0]) if self.pair else streams[0]

    def streams(self, made: Any) -> Streams:  # noqa: ANN401
        """What the block handed on."""
        return (made[1], made[0]) if self.pair else (made, None)


class _First(_Hook):
    def __init__(self, states: StateManager, decision: Decision) -> None:
        super().__init__(states)
        self._decision = decision

    def new_forward(self, block: Any, *args: Any, **named: Any) -> Any:  # noqa: ANN401
        """See this module."""
        state: _State = self.states.get_state()
        given = self.given(args, named)
        if self._decision.kind == "TeaCache":
            state.skip = self._decision.skip(state, block.norm1(given[0], emb=named["temb"])[0])
            if not state.skip:
                state.start = given
                return self.fn_ref.original_forward(*args, **named)
            return self.made(_sum(given, state.added))
        made = self.fn_ref.original_forward(*args, **named)
        streams = self.streams(made)
        state.skip = self._decision.skip(state, streams[0] - given[0])
        if state.skip:
            return self.made(_sum(streams, state.added))
        state.start = streams
        return made


class _Other(_Hook):
    def __init__(self, states: StateManager, last: bool) -> None:
        super().__init__(states)
        self._last = last

    def new_forward(self, _block: nn.Module, *args: Any, **named: Any) -> Any:  # noqa: ANN401
        """See this module."""
        state: _State = self.states.get_state()
        if state.skip:
            return self.made(self.given(args, named))
        made = self.fn_ref.original_forward(*args, **named)
        if self._last:
            state.added = _difference(self.streams(made), state.start)
            state.start = None
        return made


def _sum(streams: Streams, added: Streams | None) -> Streams:
    assert added is not None
    picture, text = streams
    return picture + added[0], text if text is None or added[1] is None else text + added[1]


def _difference(end: Streams, start: Streams | None) -> Streams:
    """What was added between. An end without text is one joined stream, text first, or that of a block that drops the text."""
    assert start is not None
    (picture, text), (picture_before, text_before) = end, start
    if text is None and text_before is not None and picture.shape[1] == picture_before.shape[1] + text_before.shape[1]:
        text, picture = picture.split([text_before.shape[1], picture_before.shape[1]], dim=1)
    return picture - picture_before, None if text is None or text_before is None else text - text_before
