"""What the small models are made of: tokenizers of bytes, text encoders, VAEs, and weights that make prompts visible."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

VOCABULARY = 300
"""Four special tokens and 256 bytes, rounded up."""
EOS = 3
"""Not 2: CLIP models pool at the largest token id when theirs is 2, at the end of the text otherwise."""
Gain = Callable[[str, str], float]
"""(part, parameter) → how much louder than variance-preserving its matrix is."""


def tokenizer(length: int) -> Any:  # noqa: ANN401 - transformers is not typed
    """One token a byte, so that every character of every language counts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"<s>": 0, "<pad>": 1, "<unk>": 2, "</s>": EOS}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {**special, **{character: index for index, character in enumerate(alphabet, len(special))}}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", special["<s>"]), ("</s>", EOS)]
    )
    roles = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=length, **roles)


def clip(width: int = 32, *, projection: bool = False) -> Any:  # noqa: ANN401
    """A CLIP text encoder of two layers; with a projection it pools to `width` numbers."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        bos_token_id=0,
        eos_token_id=EOS,
        pad_token_id=1,
        hidden_size=width,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=VOCABULARY,
        hidden_act="gelu",
        projection_dim=width,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def t5(width: int = 32) -> Any:  # noqa: ANN401
    """A T5 encoder of two layers."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=VOCABULARY, d_model=width, d_ff=37, d_kv=8, num_layers=2, num_heads=4, pad_token_id=1)
    return T5EncoderModel(config)


def gemma(width: int = 32) -> Any:  # noqa: ANN401
    """A Gemma 2 of two layers."""
    from transformers import Gemma2Config, Gemma2Model

    return Gemma2Model(
        Gemma2Config(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=EOS,
            max_position_embeddings=1024,
        )
    )


def vae(latent_channels: int = 4, *, quantised: bool = False, **config: float) -> Any:  # noqa: ANN401
    """A VAE that halves three times. quantised: with the extra convolutions that older models have around the latents."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=1,
        use_quant_conv=quantised,
        use_post_quant_conv=quantised,
        **config,
    )


def _noise(seed: int, name: str, shape: torch.Size) -> torch.Tensor:
    """Normal numbers that depend on the seed and the parameter's name only: not on the order in which parameters are made."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1))


def _fill(part: str, model: torch.nn.Module, seed: int, gain: Gain) -> None:
    """Overwrite every matrix and kernel of `model`; biases become 0, norms stay as they are.

    The VAE's kernels are smooth, which turns noise into clouds of colour.
    """
    binomial = torch.tensor([1.0, 2.0, 1.0])
    blur = torch.outer(binomial, binomial) / 16
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
            elif weight.ndim >= 2 and not name.endswith("gamma"):
                embedding = weight.shape[0] == VOCABULARY or "position_embedding" in name
                scale = 1.0 if embedding else gain(part, name) / weight.shape[1] ** 0.5
                smooth = part == "vae" and weight.shape[-2:] == blur.shape
                noise = _noise(seed, f"{part}.{name}", weight.shape[:2] if smooth else weight.shape) * scale
                weight.copy_(noise[(..., *[None] * (weight.ndim - 2))] * blur if smooth else noise)


def gains(output: str, text: tuple[str, ...], *, quiet: float = 0.04, loud: float = 6.0) -> Gain:
    """The gain of most families: the last matrix `output` is quiet, those that take the text in (prefixes `text`) are loud."""

    def gain(part: str, name: str) -> float:
        if part in ("transformer", "unet"):
            if name == output:
                return quiet
            if name.startswith(text):
                return loud
        return 1.5

    return gain


def keen(transformer: Any) -> Any:  # noqa: ANN401
    """The transformer, with attention that looks at few tokens: one letter counts among hundreds of tokens."""
    for name, weight in transformer.named_parameters():
        if name.endswith(("norm_q.weight", "norm_added_q.weight")):
            torch.nn.init.constant_(weight, 6.0)
    return transformer


def assemble(pipeline: type, seed: int, gain: Gain, models: Mapping[str, Any], **others: object) -> Any:  # noqa: ANN401
    """A pipeline of `models`, their weights filled, and `others` (tokenizers, scheduler, settings)."""
    for part, model in models.items():
        _fill(part, model.eval(), seed, gain)
    return pipeline(**models, **others)


def publish(directory: Path) -> int:
    """Let everyone read it; bytes in all. safetensors makes files for their owner alone; a worker in a pod is somebody else."""
    directory.chmod(directory.stat().st_mode | 0o555)
    size = 0
    for path in directory.rglob("*"):
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if path.is_dir() else 0o444))
        size += 0 if path.is_dir() else path.stat().st_size
    return size
