"""torch.compile for the sizes that a job decided on, and for no other."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from xdit_runtime.engine.tuning import MOST_SHAPES


def prepare() -> None:
    """Make a shape too many an error: torch would quietly stop compiling, at eight shapes of a function."""
    from torch._dynamo import config

    # a function of FLUX's blocks meets text, image and both
    config.recompile_limit = 8 * MOST_SHAPES
    config.fail_on_recompile_limit_hit = True


def compile_blocks(transformer: Any) -> None:  # noqa: ANN401
    """Compile the blocks that a transformer repeats, each kind once for all."""
    transformer.compile_repeated_blocks(dynamic=False)


@contextmanager
def only_if(compiled: bool) -> Iterator[None]:
    """Inside, what is compiled runs compiled or, with False, eagerly."""
    if compiled:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
