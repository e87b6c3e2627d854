"""A FLUX of 4 MB with random weights, as a diffusers directory: for tests, demos and clusters without a GPU.

It has everything of a FLUX.1-dev in small: two text encoders, guidance embedding, a VAE that halves three times.
Weights are chosen so that a picture answers to every character of its prompt and to its seed, and so that people see
the difference: the decoder's kernels are smooth, which turns noise into clouds of colour.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

DEFAULT_SEED = 4
"""Looks best: one letter of a prompt changes the colours."""
_VOCABULARY = 300
"""Four special tokens and 256 bytes, rounded up."""
_EOS = 3
"""Not 2: CLIP models pool at the largest token id when theirs is 2, at the end of the text otherwise."""


def _tokenizer(length: int) -> Any:  # noqa: ANN401 - transformers is not typed
    """One token a byte, so that every character of every language counts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"<s>": 0, "<pad>": 1, "<unk>": 2, "</s>": _EOS}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {**special, **{character: index for index, character in enumerate(alphabet, len(special))}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", special["<s>"]), ("</s>", _EOS)]
    )
    roles = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=length, **roles)


def _noise(seed: int, name: str, shape: torch.Size) -> torch.Tensor:
    """Normal numbers that depend on the seed and the parameter's name only: not on the order in which parameters are made."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1))


def _gain(part: str, name: str) -> float:
    """How much louder than variance-preserving a matrix is. Found by looking at pictures."""
    if part == "transformer":
        if name == "proj_out.weight":
            return 0.04
        if name.startswith(("context_embedder", "time_text_embed.text_embedder")):
            return 6.0
    return 1.5


def _fill(part: str, model: torch.nn.Module, seed: int) -> None:
    """Overwrite every matrix and kernel of `model`; biases become 0, norms stay as they are."""
    binomial = torch.tensor([1.0, 2.0, 1.0])
    blur = torch.outer(binomial, binomial) / 16
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
            elif weight.ndim >= 2:
                embedding = weight.shape[0] == _VOCABULARY or "position_embedding" in name
                scale = 1.0 if embedding else _gain(part, name) / weight.shape[1] ** 0.5
                smooth = part == "vae" and weight.shape[-2:] == blur.shape
                noise = _noise(seed, f"{part}.{name}", weight.shape[:2] if smooth else weight.shape) * scale
                weight.copy_(noise[:, :, None, None] * blur if smooth else noise)


def build(seed: int = DEFAULT_SEED) -> Any:  # noqa: ANN401 - diffusers is not typed
    """The diffusers FluxPipeline, float32, on the CPU."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    parts = {
        "transformer": FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=4,
            num_single_layers=4,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=[4, 4, 8],
            guidance_embeds=True,
        ),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                bos_token_id=0,
                eos_token_id=_EOS,
                pad_token_id=1,
                hidden_size=32,
                intermediate_size=37,
                num_attention_heads=4,
                num_hidden_layers=2,
                vocab_size=_VOCABULARY,
                hidden_act="gelu",
                projection_dim=32,
            )
        ),
        "text_encoder_2": T5EncoderModel(
            T5Config(vocab_size=_VOCABULARY, d_model=32, d_ff=37, d_kv=8, num_layers=2, num_heads=4, pad_token_id=1)
        ),
        "vae": AutoencoderKL(
            sample_size=64,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=1,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.0609,
            scaling_factor=1.5035,
        ),
    }
    for part, model in parts.items():
        _fill(part, model.eval(), seed)
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), tokenizer=_tokenizer(77), tokenizer_2=_tokenizer(512), **parts
    )


def write(directory: Path, seed: int = DEFAULT_SEED) -> int:
    """Save the model into `directory`, readable by everyone; bytes written. Raises OSError as the file system does."""
    build(seed).save_pretrained(directory, safe_serialization=True)
    return sum(_publish(directory))


def _publish(directory: Path) -> Iterator[int]:
    # safetensors makes files for their owner alone; a worker in a pod is somebody else
    directory.chmod(directory.stat().st_mode | 0o555)
    for path in directory.rglob("*"):
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if path.is_dir() else 0o444))
        yield 0 if path.is_dir() else path.stat().st_size


def main() -> None:
    """`xdit-tiny-model DIR`."""
    parser = argparse.ArgumentParser(
        prog="xdit-tiny-model",
        description="Write a FLUX of 4 MB with random weights to DIR, as a diffusers directory (safetensors). It loads and "
        "runs like FLUX.1-dev, on a CPU too, and draws clouds of colour that differ with every prompt and seed. "
        "In a resource it is the model id xdit-dev/tiny-flux.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="where to write; made if absent, files there are replaced")
    parser.add_argument(
        "--seed", type=int, default=DEFAULT_SEED, help="the same seed gives the same weights (default: %(default)s)"
    )
    arguments = parser.parse_args()
    size = write(arguments.directory, arguments.seed)
    sys.stdout.write(f"{arguments.directory}: {size / 1e6:.1f} MB, seed {arguments.seed}\n")


if __name__ == "__main__":
    main()
