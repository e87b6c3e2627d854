"""JSON as the standard has it: NaN and Infinity, which Python would take, are refused."""

import json


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


DECODER = json.JSONDecoder(parse_constant=_refuse)
"""Raises ValueError (json.JSONDecodeError where the place is known) and RecursionError."""
ERRORS = (ValueError, RecursionError)
"""What DECODER raises."""


def reason(error: Exception) -> str:
    """Why a text is no JSON, without the place."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = str(error)
    return "a number has too many digits" if text.startswith("Exceeds") else text
