"""FLUX.2's transformer with its tokens shared among the ranks of a lane."""

from functools import wraps
from typing import Any

from diffusers import Flux2Transformer2DModel
from xfuser.model_executor.models.transformers.transformer_flux2 import (
    xFuserFlux2AttnProcessor,
    xFuserFlux2ParallelSelfAttnProcessor,
)

from xdit_runtime.engine import sequence
from xdit_runtime.engine.families.shared_tokens import SharedTokens


class SplitFlux2Transformer(SharedTokens, Flux2Transformer2DModel):  # type: ignore[misc]
    """diffusers' with xfuser's attention."""

    # diffusers reads the configuration that a class takes from its signature
    @wraps(Flux2Transformer2DModel.__init__)  # type: ignore[misc]
    def __init__(self, **config: Any) -> None:
        sequence.install()
        super().__init__(**config)
        for block in self.transformer_blocks:
            block.attn.processor = xFuserFlux2AttnProcessor()
        for block in self.single_transformer_blocks:
            block.attn.processor = xFuserFlux2ParallelSelfAttnProcessor()
