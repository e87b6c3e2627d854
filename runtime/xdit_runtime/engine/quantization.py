"""Fewer bits for a transformer's matrix products. Lossy.

Both kinds quantise weights once, a scale for each row, and activations when they come, a scale for each token: what torchao
recommends for diffusion transformers, where products are large and compute is the limit. Int8 is for GPUs from Ampere on and
for CPUs; FP8 is faster and closer to the picture, and needs Ada, Hopper or later.
"""

from typing import Any, Literal

import torch
from torch import nn

from xdit_runtime.engine.base import PlanError

Kind = Literal["None", "Int8", "FP8"]

_SPARED = ("norm", "mod", "ada", "time", "lora")
"""In the names of layers that turn the step into shifts and scales (they see one row a picture, which saves nothing, and an
error of theirs moves every token) and of LoRAs, which are small.
"""
_TILE = 16
"""Both dimensions of a weight must be multiples of this for the kernels."""
_FP8_CAPABILITY = (8, 9)


def layers(transformer: nn.Module) -> list[str]:
    """Names of the layers that are quantised: linear ones inside the blocks. What embeds, and what makes the output, is not."""
    blocks = {name for name, child in transformer.named_children() if isinstance(child, nn.ModuleList)} | {"mid_block"}
    return [
        name
        for name, module in transformer.named_modules()
        if type(module) is nn.Linear
        and name.split(".")[0] in blocks
        and not any(word in part.lower() for part in name.split(".") for word in _SPARED)
        and module.in_features % _TILE == module.out_features % _TILE == 0
    ]


def quantize(transformer: nn.Module, kind: Kind) -> None:
    """Quantise a transformer (or UNet) where it is, once after loading and before it is split or compiled.

    Raises PlanError for FP8 on a GPU that cannot do it, and for a model without a layer that can be quantised.
    """
    if kind == "None":
        return
    device = next(transformer.parameters()).device
    if kind == "FP8" and device.type == "cuda" and torch.cuda.get_device_capability(device) < _FP8_CAPABILITY:
        name = torch.cuda.get_device_name(device)
        raise PlanError(f"engine.quantization FP8 needs GPUs from Ada or Hopper on, and this is a {name}; use Int8 or None")
    chosen = frozenset(layers(transformer))
    if not chosen:
        raise PlanError(f"engine.quantization {kind} finds no layer that it could quantise in this model; use None")
    from torchao.quantization import quantize_

    quantize_(transformer, _config(kind), filter_fn=lambda _module, name: name in chosen)


def _config(kind: Kind) -> Any:  # noqa: ANN401 - torchao is not typed
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, Int8DynamicActivationInt8WeightConfig, PerRow

    # its settings of the compiler would also turn TF32 on for the whole process
    if kind == "FP8":
        return Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False)
    return Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
