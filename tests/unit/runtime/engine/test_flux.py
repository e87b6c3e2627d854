import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor

from xdit_runtime.engine import flux
from xdit_runtime.engine.base import Request


def test_bytes_are_those_of_diffusers() -> None:
    """Through the same values as diffusers' own way to a PIL image, bfloat16 included."""
    values = torch.linspace(-1.1, 1.1, 3 * 64 * 48).reshape(1, 3, 64, 48).bfloat16()
    processor = VaeImageProcessor()
    expected = np.asarray(processor.postprocess(values, output_type="pil")[0])
    made = flux.to_bytes(processor.postprocess(values, output_type="pt"))
    assert made.shape == (64, 48, 3)
    assert made.dtype == np.uint8
    assert made.flags.c_contiguous
    assert np.array_equal(made, expected)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"_class_name": "StableDiffusionPipeline"}, "not FluxPipeline"),
        (
            {"_class_name": "FluxPipeline", "scheduler": ["my_scheduler", "Evil"]},
            "component 'scheduler' comes from 'my_scheduler'",
        ),
    ],
)
def test_a_model_directory_cannot_bring_code(tmp_path: Path, index: dict[str, object], said: str) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=said):
        flux._check_index(tmp_path)


def test_noise_depends_on_the_seed_alone() -> None:
    embeddings = (torch.zeros(1), torch.zeros(1))

    def noise(seed: int) -> torch.Tensor:
        request = Request("a", 64, 64, 1, 1.0, seed)
        generator = flux.arguments(request, embeddings, 512, lambda *_: None)["generator"]
        return torch.randn(8, generator=generator)

    assert torch.equal(noise(2**53 - 1), noise(2**53 - 1))
    assert torch.equal(noise(2**63 - 1), noise(2**63 - 1))
    assert not torch.equal(noise(1), noise(2))
