"""FLUX.1's transformer with its tokens shared among the ranks of a lane."""

from xfuser.model_executor.models.transformers.transformer_flux import xFuserFlux1Transformer2DWrapper


class SplitFluxTransformer(xFuserFlux1Transformer2DWrapper):  # type: ignore[misc]
    """xfuser's, whole."""
