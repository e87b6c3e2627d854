from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.runtime.jobs import make_job
from xdit_api.prompts import Prompt
from xdit_runtime import imagefile
from xdit_runtime.record import record_of

PROMPT = Prompt(
    index=0, id="p", prompt="a boat", negative_prompt="", width=64, height=64, steps=4, guidance_scale=3.5, seed=1, images=1
)
PIPEFUSION = {"degrees": {"pipefusion": 2, "pipefusionPatches": 4, "warmupSteps": 2}, "gpus": 2, "gpusPerPod": 2}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"engine": {"offload": "Model", "compile": "Never", "attention": "SDPA"}}, None),
        ({"engine": {"cache": "FBCache", "quantization": "Int8"}}, {"cache": "FBCache", "quantization": "Int8"}),
        (PIPEFUSION, {"pipefusion": {"stages": 2, "patches": 4, "warmup_steps": 2}}),
        ({**PIPEFUSION, "degrees": {"pipefusion": 2}}, {"pipefusion": {"stages": 2, "patches": 2, "warmup_steps": 1}}),
        ({**PIPEFUSION, "degrees": {"pipefusion": 2, "pipefusionPatches": 1}}, None),
        ({**PIPEFUSION, "degrees": {"pipefusion": 2, "warmupSteps": 4}}, None),
        ({"degrees": {"ulysses": 2}, "gpus": 2, "gpusPerPod": 2}, None),
    ],
)
def test_an_image_says_what_was_lossy(tmp_path: Path, changes: dict[str, Any], said: dict[str, Any] | None) -> None:
    exact = record_of(make_job(tmp_path), PROMPT, 0)
    record = record_of(make_job(tmp_path, **changes), PROMPT, 0)
    assert record.get("lossy") == said
    assert record["key"] == exact["key"]
    assert ("lossy" in record) == (said is not None)


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
def test_the_file_itself_says_so(tmp_path: Path, format: imagefile.Format) -> None:
    record = record_of(make_job(tmp_path, engine={"cache": "TeaCache"}), PROMPT, 0)
    path = tmp_path / f"p.{format}"
    path.write_bytes(imagefile.encode(np.zeros((64, 64, 3), np.uint8), record, format))
    found = imagefile.read_record(path)
    assert found is not None
    assert found["lossy"] == {"cache": "TeaCache"}
