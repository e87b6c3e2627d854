"""A small diffusers repository that looks like FLUX.1-dev, with everything that must be left out."""

import json

import numpy as np

REPO = "lab/flux-small"
REVISION = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_SecretSecretSecretSecret"


def safetensors(size: int, seed: int = 0) -> bytes:
    """A valid file with one tensor of `size` bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + np.random.default_rng(seed).bytes(size)


def _json(**content: object) -> bytes:
    return json.dumps(content).encode()


def wanted(weights: int = 3_000_000) -> dict[str, bytes]:
    """What workers need; the transformer's two shards have `weights` bytes each."""
    shard = "transformer/diffusion_pytorch_model-0000{}-of-00002.safetensors"
    return {
        "model_index.json": _json(
            _class_name="FluxPipeline",
            _diffusers_version="0.42.0",
            scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"],
            text_encoder=["transformers", "CLIPTextModel"],
            tokenizer=["transformers", "CLIPTokenizer"],
            tokenizer_2=["transformers", "T5TokenizerFast"],
            transformer=["diffusers", "FluxTransformer2DModel"],
            vae=["diffusers", "AutoencoderKL"],
            image_encoder=[None, None],
            requires_safety_checker=False,
        ),
        "scheduler/scheduler_config.json": _json(shift=3.0),
        "text_encoder/config.json": _json(hidden_size=8),
        "text_encoder/model.safetensors": safetensors(50_000, 1),
        "tokenizer/merges.txt": b"#version: 0.2\n",
        "tokenizer/vocab.json": _json(a=1),
        "tokenizer_2/spiece.model": b"\x0a\x0bpieces",
        "tokenizer_2/vocab.json": _json(a=1),
        "transformer/config.json": _json(num_layers=1),
        shard.format(1): safetensors(weights, 2),
        shard.format(2): safetensors(weights, 3),
        "transformer/diffusion_pytorch_model.safetensors.index.json": _json(
            weight_map={"a": shard.format(1).rpartition("/")[2], "b": shard.format(2).rpartition("/")[2]}
        ),
        "vae/config.json": _json(scaling_factor=1),
        "vae/diffusion_pytorch_model.safetensors": safetensors(40_000, 4),
    }


def extras() -> dict[str, bytes]:
    """What no worker needs, or must not have."""
    return {
        ".gitattributes": b"*.safetensors filter=lfs\n",
        "README.md": b"# model",
        "flux1-small.safetensors": safetensors(1000),
        "ae.safetensors": safetensors(1000),
        "text_encoder/model.fp16.safetensors": safetensors(1000),
        "text_encoder/pytorch_model.bin": b"pickle",
        "text_encoder/flax_model.msgpack": b"flax",
        "text_encoder/openvino_model.xml": b"xml",
        "transformer/diffusion_pytorch_model.bin.index.json": b"{}",
        "transformer/diffusion_pytorch_model.fp16-00001-of-00001.safetensors": safetensors(1000),
        "vae/code.py": b"import os",
        "vae/onnx/model.onnx": b"onnx",
        "loras/ink.safetensors": safetensors(2000, 5),
    }
