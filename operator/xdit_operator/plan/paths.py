"""Where things are inside a worker pod and inside the output claim."""

from pathlib import PurePosixPath
from typing import cast, get_args

from xdit_api import pod
from xdit_api.job import PromptFormat
from xdit_api.spec import ModelSource, Output, Prompts


def model_path(source: ModelSource) -> PurePosixPath:
    """Directory that holds model_index.json."""
    return pod.MODEL_DIR / ((source.pvc.path if source.pvc else None) or "")


def volume_path(output: Output, name: str) -> str:
    """Directory of the pictures inside the claim; by default the resource's name."""
    return output.path or name


def output_path(output: Output, name: str) -> PurePosixPath:
    """The same directory inside the pod."""
    return pod.OUTPUT_DIR / volume_path(output, name)


def prompts_file(prompts: Prompts) -> tuple[PurePosixPath, PromptFormat]:
    """The prompt file inside the pod, and its format."""
    if prompts.config_map is not None:
        file = prompts.config_map.key
    elif prompts.volume is not None:
        file = prompts.volume.path
    else:
        return pod.INLINE_PROMPTS, "jsonl"
    return pod.PROMPTS_DIR / file, prompts_format(file)


def prompts_format(file: str) -> PromptFormat:
    """By the ending of the name: the schema demands one that is known. Raises ValueError."""
    for format in get_args(PromptFormat):
        if file.endswith(f".{format}"):
            return cast(PromptFormat, format)
    raise ValueError(f"{file} has none of the endings of prompt files")
