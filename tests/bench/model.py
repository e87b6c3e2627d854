"""A FLUX.1-dev with random weights, 33 GB in bfloat16, made on the GPU: `python model.py DIR [--tiny]`.

Every tensor has the shape it has in the released model, so that time and memory are the same. Kernels of the decoder are
smooth, so that a picture is as hard to compress as a photograph and not as noise.
"""

import sys
import time
from pathlib import Path
from typing import Any

import torch

from xdit_runtime import tiny_model
from xdit_runtime.tiny_models import parts as tiny_parts


def fill(model: torch.nn.Module, smooth: bool, device: str) -> None:
    binomial = torch.tensor([1.0, 2.0, 1.0], device=device)
    blur = (torch.outer(binomial, binomial) / 16).bfloat16()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim < 2:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            gain = {"proj_out.weight": 0.5, "decoder.conv_out.weight": 0.5}.get(name, 1.0)
            if smooth and weight.shape[-2:] == (3, 3):
                noise = torch.randn(weight.shape[:2], device=device, dtype=torch.bfloat16) * (gain * 1.5 / weight.shape[1] ** 0.5)
                weight.copy_(noise[:, :, None, None] * blur)
            else:
                weight.normal_(std=gain / weight[0].numel() ** 0.5)


def build(device: str = "cuda", layers: tuple[int, int, int] = (19, 38, 24)) -> Any:
    """The FluxPipeline on the device. layers: double and single ones of the transformer, and of T5."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        parts = {
            "transformer": FluxTransformer2DModel(guidance_embeds=True, num_layers=layers[0], num_single_layers=layers[1]),
            "text_encoder": CLIPTextModel(
                CLIPTextConfig(
                    hidden_size=768,
                    intermediate_size=3072,
                    num_attention_heads=12,
                    projection_dim=768,
                    bos_token_id=0,
                    eos_token_id=3,
                )
            ),
            "text_encoder_2": T5EncoderModel(
                T5Config(
                    d_model=4096,
                    d_ff=10240,
                    d_kv=64,
                    num_layers=layers[2],
                    num_heads=64,
                    feed_forward_proj="gated-gelu",
                    pad_token_id=1,
                )
            ),
            "vae": AutoencoderKL(
                sample_size=1024,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                block_out_channels=(128, 256, 512, 512),
                layers_per_block=2,
                latent_channels=16,
                use_quant_conv=False,
                use_post_quant_conv=False,
                scaling_factor=0.3611,
                shift_factor=0.1159,
            ),
        }
    torch.set_default_dtype(torch.float32)
    for name, part in parts.items():
        fill(part.to(torch.bfloat16), name == "vae", device)
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, shift=3.0, base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096
    )
    return FluxPipeline(scheduler=scheduler, tokenizer=tiny_parts.tokenizer(77), tokenizer_2=tiny_parts.tokenizer(512), **parts)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    started = time.monotonic()
    if "--tiny" in sys.argv:
        tiny_model.write(target)
    else:
        build().save_pretrained(target)
    size = sum(path.stat().st_size for path in target.rglob("*.safetensors"))
    print(f"{size / 1e9:.2f} GB in {time.monotonic() - started:.1f} s", flush=True)
