"""Lines of the frozen file: a prompt with every default filled in, or a line of the user's file that was left out."""

import json
from json.encoder import encode_basestring_ascii as quoted

from xdit_api.prompts import Problem, Prompt

_LEFT_OUT = b'{"left_out"'


def encode(prompt: Prompt) -> bytes:
    """The line of a prompt. Its position is where it stands."""
    p = prompt
    more = ""
    if p.extra != "{}":
        more += f', "extra": {quoted(p.extra)}'
    if p.inputs:
        more += f', "inputs": {json.dumps(p.inputs)}, "digests": {json.dumps(p.digests)}'
    if p.strength is not None:
        more += f', "strength": {p.strength!r}'
    if p.loras is not None:
        more += f', "loras": {json.dumps(p.loras)}'
    return (
        f'{{"id": {quoted(p.id)}, "prompt": {quoted(p.prompt)}, "negative_prompt": {quoted(p.negative_prompt)}, '
        f'"seed": {"null" if p.seed is None else p.seed}, "width": {p.width}, "height": {p.height}, "steps": {p.steps}, '
        f'"guidance_scale": {p.guidance_scale!r}, "images": {p.images}, "line": {p.line}{more}}}\n'
    ).encode()


def decode(line: bytes, index: int) -> Prompt:
    """The prompt at a position."""
    said = json.loads(line.decode())
    loras = said.get("loras")
    return Prompt(
        index,
        said["id"],
        said["prompt"],
        said["negative_prompt"],
        said["seed"],
        said["width"],
        said["height"],
        said["steps"],
        said["guidance_scale"],
        said["images"],
        said.get("extra", "{}"),
        tuple(said.get("inputs", ())),
        said.get("strength"),
        None if loras is None else tuple((name, scale) for name, scale in loras),
        tuple(said.get("digests", ())),
        said.get("line", 0),
    )


def encode_left_out(problem: Problem) -> bytes:
    """The line of a bad line; they stand after the prompts."""
    return json.dumps({"left_out": problem.text, "line": problem.line}).encode() + b"\n"


def is_left_out(line: bytes) -> bool:
    """Whether a line is no prompt."""
    return line.startswith(_LEFT_OUT)


def decode_left_out(line: bytes) -> Problem:
    """The opposite of encode_left_out."""
    fields = json.loads(line)
    return Problem(fields["line"], fields["left_out"])
