import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.image_processor import VaeImageProcessor

from xdit_runtime.engine import loading, model
from xdit_runtime.engine.base import Request
from xdit_runtime.engine.families.base import Family


def test_bytes_are_those_of_diffusers() -> None:
    """Through the same values as diffusers' own way to a PIL image, bfloat16 included."""
    values = torch.linspace(-1.1, 1.1, 2 * 3 * 64 * 48).reshape(2, 3, 64, 48).bfloat16()
    processor = VaeImageProcessor()
    expected = processor.postprocess(values, output_type="pil")
    made = model.to_bytes(processor.postprocess(values, output_type="pt"))
    assert len(made) == 2
    for picture, wanted in zip(made, expected, strict=True):
        assert picture.shape == (64, 48, 3)
        assert picture.dtype == np.uint8
        assert picture.flags.c_contiguous
        assert np.array_equal(picture, np.asarray(wanted))


def test_a_model_directory_cannot_bring_code(tmp_path: Path) -> None:
    index = {"_class_name": "FluxPipeline", "scheduler": ["my_scheduler", "Evil"], "unused": [None, None]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="component 'scheduler' comes from 'my_scheduler'"):
        loading.model_index(tmp_path)


def test_noise_depends_on_the_seed_alone() -> None:
    def noise(*seeds: int) -> list[torch.Tensor]:
        requests = [Request("a", 64, 64, 1, 1.0, seed) for seed in seeds]
        pipeline = SimpleNamespace(scheduler=FlowMatchEulerDiscreteScheduler())
        generators = Family().arguments(pipeline, requests, lambda *_: None)["generator"]
        return [torch.randn(8, generator=generator) for generator in generators]

    assert torch.equal(noise(2**53 - 1)[0], noise(5, 2**53 - 1)[1])
    assert torch.equal(noise(2**63 - 1)[0], noise(2**63 - 1, 1)[0])
    assert not torch.equal(noise(1)[0], noise(2)[0])
