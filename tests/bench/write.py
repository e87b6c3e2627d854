"""Writes the models: `write.py DIR INDEX OF [--tiny]`, process INDEX of OF, which each write a part of the big one.

DIR/flux is FLUX.1-dev in shape with random weights; DIR/sd3 a tiny SD3, for the degrees that FLUX does not have. Every
process makes the same weights on a GPU of its own, which takes a second; one process alone would write for a minute.
"""

import json
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file

from tests.bench import model
from xdit_runtime import tiny_models

_SHARD = "2GB"


def write(directory: Path, pipeline: Any, index: int, of: int) -> None:
    """The part of process `index`: text encoders and VAE for the first, the transformer's shards for the others."""
    if index == 0:
        pipeline.save_config(directory)
        pipeline.transformer.save_config(directory / "transformer")
        for name, part in pipeline.components.items():
            if part is not None and name != "transformer":
                part.save_pretrained(directory / name)
        if of > 1:
            return
    state = pipeline.transformer.state_dict()
    pattern = "diffusion_pytorch_model{suffix}.safetensors"
    split = split_torch_state_dict_into_shards(state, filename_pattern=pattern, max_shard_size=_SHARD)
    folder = directory / "transformer"
    folder.mkdir(parents=True, exist_ok=True)
    if index == of - 1 and split.is_sharded:
        contents = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(contents))
    mine = list(split.filename_to_tensors.items())
    for name, tensors in mine if of == 1 else mine[index - 1 :: of - 1]:
        save_file({tensor: state[tensor].contiguous() for tensor in tensors}, folder / name, {"format": "pt"})


def main() -> None:
    directory, index, of = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if index == 0:
        tiny_models.write(directory / "sd3", "sd3")
    write(directory / "flux", tiny_models.build("flux") if "--tiny" in sys.argv else model.build(), index, of)


if __name__ == "__main__":
    main()
