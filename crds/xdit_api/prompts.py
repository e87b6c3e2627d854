"""Prompt files: JSONL and TXT, one record a line, every problem with its line number.

Pure: text in, prompts and problems out. The operator calls it on what the API shows, the worker on files.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from xdit_api.base import Json
from xdit_api.job import PromptFormat
from xdit_api.spec import Defaults, Guidance, ImageCount, InlinePrompt, Seed, Size, Steps

ID = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
MAX_PROMPT = 20_000
"""Characters of one prompt in a file."""
MAX_PROBLEMS = 20
"""Problems that are spelled out; the rest is counted."""


class PromptLine(BaseModel):
    """One record as a user writes it. Unknown columns are kept and copied to the manifest."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    id: str | int | None = None
    prompt: str
    negative_prompt: str | None = None
    seed: Seed | None = None
    width: Size | None = None
    height: Size | None = None
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    images: ImageCount | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt with every default filled in."""

    index: int
    """Position in the file, from 0."""
    id: str
    prompt: str
    negative_prompt: str
    seed: int | None
    """The line's own seed; None means derived (see `image_seed`)."""
    width: int
    height: int
    steps: int
    guidance_scale: float
    images: int
    extra: str = "{}"
    """Unknown columns, as JSON."""
    inputs: tuple[str, ...] = ()
    """Absolute, checked paths of input images (edit, img2img)."""
    strength: float | None = None
    """How far an input image is changed, 0 < strength <= 1; None = the family's own way (edit models take none)."""
    loras: tuple[tuple[str, float], ...] | None = None
    """(name, scale) in the order written; None = every LoRA of the job at its own scale; () = none."""
    digests: tuple[str, ...] = ()
    """sha256 of the content of each of `inputs`, taken when the prompts were frozen."""
    line: int = 0
    """Line in the user's file, from 1."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a prompt file is refused."""

    line: int
    """From 1."""
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


def image_seed(job_seed: int, prompt: Prompt, k: int) -> int:
    """Seed of image k (from 0) of a prompt: the line's seed + k, else the first 63 bits of sha256(job seed, id, k).

    Depends on nothing else, so that order, lanes, resume and hardware change no picture.
    """
    if prompt.seed is not None:
        return prompt.seed + k
    digest = hashlib.sha256(f"{job_seed}/{prompt.id}/{k}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def image_names(prompt: Prompt) -> list[str]:
    """File names without ending: the id, or id.0, id.1, … when there are several images."""
    return [prompt.id] if prompt.images == 1 else [f"{prompt.id}.{k}" for k in range(prompt.images)]


def parse(format: PromptFormat, lines: Iterable[str], defaults: Defaults) -> Iterator[Prompt | Problem]:
    """Prompts in file order, with a Problem in the place of every bad line. Empty lines are passed over.

    Yields one Problem at line 1 when there is no prompt at all. Holds 16 bytes a prompt (to find equal ids).
    """
    seen: dict[bytes, int] = {}
    index = 0
    number = 0
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r\n")
        if number == 1 and line.startswith("\ufeff"):
            line = line[1:]
        if not line.strip():
            continue
        made = _record(format, line, number, index, defaults)
        if isinstance(made, Prompt):
            key = hashlib.blake2b(made.id.lower().encode(), digest_size=8).digest()
            first = seen.setdefault(key, number)
            if first != number:
                made = Problem(number, f"id '{made.id}' is used on line {first} already (ids differ by more than case)")
        yield made
        index += 1
    if index == 0:
        yield Problem(max(number, 1), "no prompts: the file is empty")


def _record(format: PromptFormat, line: str, number: int, index: int, defaults: Defaults) -> Prompt | Problem:
    if format == "txt":
        return _resolve(PromptLine(prompt=line.strip()), number, index, defaults)
    try:
        decoded = json.loads(line)
    except json.JSONDecodeError as error:
        return Problem(number, f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return Problem(number, "not JSON: nested too deeply")
    if not isinstance(decoded, dict):
        return Problem(number, f'must be a JSON object such as {{"id": "cat", "prompt": "a cat"}}, not {_kind(decoded)}')
    try:
        record = PromptLine.model_validate(decoded)
    except ValidationError as error:
        return Problem(number, "; ".join(_explain(e) for e in error.errors(include_url=False)))
    return _resolve(record, number, index, defaults)


def _resolve(record: PromptLine, number: int, index: int, defaults: Defaults) -> Prompt | Problem:
    identifier = f"{number:06d}" if record.id is None else str(record.id)
    if not ID.match(identifier):
        return Problem(number, f"id {identifier[:60]!r} must be 1 to 128 letters, digits, '-' or '_'")
    if not record.prompt.strip():
        return Problem(number, "prompt is empty")
    if len(record.prompt) > MAX_PROMPT:
        return Problem(number, f"prompt has {len(record.prompt)} characters, more than {MAX_PROMPT}")
    return Prompt(
        index=index,
        id=identifier,
        prompt=record.prompt,
        negative_prompt=defaults.negative_prompt if record.negative_prompt is None else record.negative_prompt,
        seed=record.seed,
        width=record.width or defaults.width,
        height=record.height or defaults.height,
        steps=record.steps or defaults.steps,
        guidance_scale=defaults.guidance_scale if record.guidance_scale is None else record.guidance_scale,
        images=record.images or defaults.images_per_prompt,
        extra=json.dumps(record.model_extra or {}, ensure_ascii=False, sort_keys=True),
    )


def _kind(value: object) -> str:
    return {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a boolean"}.get(type(value), "null")


def _explain(error: object) -> str:
    assert isinstance(error, dict)
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"'{where}' is missing"
    text = str(error["msg"])
    value = error.get("input")
    shown = "" if isinstance(value, dict | list) else f", not {json.dumps(value, ensure_ascii=False)[:60]}"
    return f"{where}: {text[0].lower()}{text[1:]}{shown}"


def check(format: PromptFormat, lines: Iterable[str], defaults: Defaults) -> tuple[list[Prompt], list[Problem]]:
    """All prompts and all problems of a small file."""
    prompts: list[Prompt] = []
    problems: list[Problem] = []
    for item in parse(format, lines, defaults):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            prompts.append(item)
    return prompts, problems


def summary(source: str, problems: list[Problem]) -> str:
    """One text for a condition or a termination message: '<source>: 3 bad lines. line 2: …'."""
    shown = "\n".join(str(p) for p in problems[:MAX_PROBLEMS])
    more = f"\n… and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
    count = "1 bad line" if len(problems) == 1 else f"{len(problems)} bad lines"
    return f"{source}: {count}\n{shown}{more}"


def inline_jsonl(prompts: list[InlinePrompt]) -> str:
    """Inline prompts of a resource as a JSONL file."""
    return "".join(json.dumps(_inline_record(p), ensure_ascii=False) + "\n" for p in prompts)


def _inline_record(prompt: InlinePrompt) -> Json:
    return prompt.model_dump(exclude_none=True, by_alias=False)
