"""Reading JSON of uncertain shape: a value of the wrong type reads as missing.

Belongs here: typed access to a decoded payload. Not here: what a field means (`finding`, `category`, `lead`),
and the contract that decides whether a payload is one (`partner_center`).
"""

from collections.abc import Mapping
from typing import Final

_NOTHING: Final[Mapping[str, object]] = {}


def text(value: object) -> str | None:
    """The text without blanks around it; None for the empty one and for what is no text."""
    return (value.strip() or None) if isinstance(value, str) else None


def mapping(value: object) -> Mapping[str, object]:
    """The JSON object; an empty one for what is none."""
    return value if isinstance(value, Mapping) else _NOTHING


def items(value: object) -> list[object]:
    """The JSON array; an empty one for what is none."""
    return value if isinstance(value, list) else []


def at(payload: Mapping[str, object], *path: str) -> object:
    """The value at a path of object keys, or None."""
    value: object = payload
    for key in path:
        value = mapping(value).get(key)
    return value
