"""FLUX.1's transformer with its tokens shared among the ranks of a lane, at any size of picture.

xfuser's calls a method that does not exist when the ranks do not divide the tokens, which inputs of any shape bring about.
"""

from functools import wraps
from typing import Any

from diffusers import FluxTransformer2DModel
from xfuser.model_executor.models.transformers.transformer_flux import xFuserFluxAttnProcessor

from xdit_runtime.engine import sequence
from xdit_runtime.engine.families.shared_tokens import SharedTokens


class SplitKontextTransformer(SharedTokens, FluxTransformer2DModel):  # type: ignore[misc]
    """diffusers' with xfuser's attention."""

    # diffusers reads the configuration that a class takes from its signature
    @wraps(FluxTransformer2DModel.__init__)  # type: ignore[misc]
    def __init__(self, **config: Any) -> None:
        sequence.install()
        super().__init__(**config)
        for block in (*self.transformer_blocks, *self.single_transformer_blocks):
            block.attn.processor = xFuserFluxAttnProcessor()
