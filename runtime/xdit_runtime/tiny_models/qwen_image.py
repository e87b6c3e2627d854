"""A Qwen-Image of 1 MB: Qwen2.5-VL reads the prompt, guidance is `true_cfg_scale`."""

from typing import Any

from xdit_runtime.tiny_models import language, parts


def build(seed: int) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The QwenImagePipeline. 4 heads, 3 layers."""
    from diffusers import QwenImagePipeline

    return parts.assemble(QwenImagePipeline, seed, gain, models(), scheduler=scheduler(), tokenizer=language.qwen_tokenizer())


def gain(part: str, name: str) -> float:
    """Its VAE does not take means away, so that what its blocks add must be faint beside what comes in."""
    if part == "vae":
        return 0.2 if name.endswith(("conv2.weight", "proj.weight")) else 1.2 if "conv_out" in name else 1.5
    return _gain(part, name)


_gain = parts.gains("proj_out.weight", ("txt_in",), quiet=1.0)


def scheduler() -> Any:  # noqa: ANN401
    """Its schedule shifts with the size of the picture."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)


def models(halvings: int = 3, width: int = 8, blocks: int = 1, *, zero_cond_t: bool = False) -> dict[str, Any]:
    """Transformer, text encoder and VAE. halvings, width, blocks: of the VAE; a token is twice as wide as its
    latents.
    """
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

    return {
        "transformer": parts.keen(
            QwenImageTransformer2DModel(
                patch_size=2,
                in_channels=16,
                out_channels=4,
                num_layers=3,
                attention_head_dim=16,
                num_attention_heads=4,
                joint_attention_dim=32,
                axes_dims_rope=(4, 6, 6),
                zero_cond_t=zero_cond_t,
            )
        ),
        "text_encoder": language.qwen_vl(32),
        "vae": AutoencoderKLQwenImage(
            base_dim=width,
            z_dim=4,
            dim_mult=[1] * (halvings + 1),
            num_res_blocks=blocks,
            temperal_downsample=[False] * halvings,
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
    }
