"""A record with its place -> a prompt, or the sentence why not."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn, Required, TypedDict, cast

from xdit_api.prompts.formats import Record
from xdit_api.prompts.line import PromptLine, wrong
from xdit_api.prompts.problems import Problem, kind, shown
from xdit_api.prompts.record import Prompt
from xdit_api.spec import MAX_SCALE, Defaults

ID = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
MAX_PROMPT = 20_000
"""Characters of one prompt in a file."""
MAX_EXTRA = 65_536
"""Characters of all unknown columns of a prompt together."""
MAX_DEPTH = 32
"""Lists and objects inside each other in an unknown column."""
MAX_INPUTS = 8
"""Input images of one prompt."""
MAX_PATH = 1024
"""Characters of the path of an input image."""

FIELDS = frozenset(["id", "image", "loras", *PromptLine.model_fields])
"""Every field that has a meaning."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a prompt depends on besides its own line."""

    defaults: Defaults = field(default_factory=Defaults)
    loras: Mapping[str, float] = field(default_factory=dict)
    """LoRAs of the job: name -> scale."""
    no_images: str | None = None
    """Why prompts of this source can have no input images; None when they can."""


class _Plain(TypedDict, total=False):
    """A record of which `line.wrong` had nothing to say."""

    id: object
    prompt: Required[str]
    negative_prompt: str | None
    seed: int | None
    width: int | None
    height: int | None
    steps: int | None
    guidance_scale: float | None
    strength: float | None
    images: int | None
    image: object
    loras: object


class _BadError(Exception):
    pass


def resolve(record: Record, index: int, setting: Setting) -> Prompt | Problem:
    """The prompt at a position among the good ones. Input images are as written: only a worker can look at files."""
    try:
        return _resolve(record, index, setting)
    except _BadError as error:
        return Problem(record.line, str(error))


def _bad(text: str) -> NoReturn:
    raise _BadError(text)


def _resolve(record: Record, index: int, setting: Setting) -> Prompt:
    if not isinstance(record.value, dict):
        _bad(f'must be a JSON object such as {{"id": "cat", "prompt": "a cat"}}, not {kind(record.value)}')
    reason = wrong(record.value)
    if reason is not None:
        _bad(reason)
    plain = cast(_Plain, record.value)
    defaults = setting.defaults
    negative, guidance, strength = plain.get("negative_prompt"), plain.get("guidance_scale"), plain.get("strength")
    identifier = _identifier(plain.get("id"), record.number)
    inputs = _inputs(plain.get("image"), setting.no_images)
    if strength is not None and not inputs:
        _bad("strength says how far an input image is changed, but there is no image")
    if not plain["prompt"].strip():
        _bad("prompt is empty")
    return Prompt(
        index,
        identifier,
        _text("prompt", plain["prompt"]),
        defaults.negative_prompt if negative is None else _text("negative_prompt", negative),
        plain.get("seed"),
        plain.get("width") or defaults.width,
        plain.get("height") or defaults.height,
        plain.get("steps") or defaults.steps,
        defaults.guidance_scale if guidance is None else float(guidance),
        plain.get("images") or defaults.images_per_prompt,
        "{}" if plain.keys() <= FIELDS else _extra(record.value),
        inputs,
        None if strength is None else float(strength),
        _loras(plain.get("loras"), setting.loras),
        (),
        record.line,
    )


def _identifier(value: object, number: int) -> str:
    if value is None:
        return f"{number:06d}"
    if type(value) is not str and type(value) is not int:
        _bad(f"id: input should be a string or an integer, not {shown(value)}")
    identifier = str(value)
    if not ID.match(identifier):
        _bad(f"id {shown(identifier)} must be 1 to 128 letters, digits, '-' or '_'")
    return identifier


def _text(name: str, value: str) -> str:
    if len(value) > MAX_PROMPT:
        _bad(f"{name} has {len(value)} characters, more than {MAX_PROMPT}")
    _whole(name, value)
    return value


def _whole(name: str, value: str) -> None:
    """JSON can write half of a character; no tokenizer and no file system takes it."""
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError as error:
        _bad(f"{name}: character {error.start + 1} is half of a surrogate pair, which is no text")


def _inputs(value: object, no_images: str | None) -> tuple[str, ...]:
    paths = [value] if isinstance(value, str) else value
    if paths is None or paths == []:
        return ()
    if no_images is not None:
        _bad(f"image: {no_images}")
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        _bad("image: input should be the path of an image, or a list of paths")
    if len(paths) > MAX_INPUTS:
        _bad(f"image: {len(paths)} images, more than {MAX_INPUTS}")
    for path in paths:
        _whole("image", path)
        if not path or path.startswith("/") or "\0" in path or len(path) > MAX_PATH:
            _bad(f"image {shown(path)} must be a path relative to the prompt file, of 1 to {MAX_PATH} characters")
    return tuple(paths)


def _loras(value: object, known: Mapping[str, float]) -> tuple[tuple[str, float], ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        _bad('loras: input should be a list such as ["ink", {"name": "sketch", "scale": 0.5}]')
    chosen: dict[str, float] = {}
    for entry in value:
        name, scale = _lora(entry)
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "which is empty"
            _bad(f"loras: {shown(name)} is not in spec.model.loras: {has}")
        if name in chosen:
            _bad(f"loras: {shown(name)} is there twice")
        chosen[name] = known[name] if scale is None else scale
    return tuple(chosen.items())


def _lora(entry: object) -> tuple[str, float | None]:
    if isinstance(entry, str):
        return entry, None
    if not isinstance(entry, dict) or not entry.keys() <= {"name", "scale"} or not isinstance(entry.get("name"), str):
        _bad('loras: each must be a name or an object such as {"name": "ink", "scale": 0.5}, not ' + shown(entry))
    scale = entry.get("scale")
    if scale is None:
        return entry["name"], None
    if type(scale) not in (int, float) or not -MAX_SCALE <= scale <= MAX_SCALE:
        _bad(f"loras: scale of {shown(entry['name'])} must be a number from -{MAX_SCALE} to {MAX_SCALE}, not {shown(scale)}")
    return entry["name"], float(scale)


def _extra(values: Mapping[str, object]) -> str:
    unknown = {name: value for name, value in values.items() if name not in FIELDS}
    for name, value in unknown.items():
        if isinstance(value, dict | list) and _deep(value, MAX_DEPTH):
            _bad(f"{shown(name)}: more than {MAX_DEPTH} lists and objects inside each other")
    try:
        text = json.dumps(unknown, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except ValueError:
        _bad("a number in the other columns is too large for JSON")
    if len(text) > MAX_EXTRA:
        _bad(f"the other columns have {len(text)} characters, more than {MAX_EXTRA}")
    return text


def _deep(value: object, left: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left == 0 or any(_deep(v, left - 1) for v in inside if isinstance(v, dict | list))
