"""Typed access to JSON of uncertain shape: a value of the wrong type counts as missing.

Not here: what a field means (`customer_domain`, `category`, `lead`), and the payload contract (`partner_center`).
"""

from collections.abc import Mapping
from typing import Final

_NOTHING: Final[Mapping[str, object]] = {}


def text(value: object) -> str | None:
    """Return the text without blanks around it; None for an empty one and for what is no text."""
    return (value.strip() or None) if isinstance(value, str) else None


def mapping(value: object) -> Mapping[str, object]:
    """Return the JSON object; an empty one for what is none."""
    return value if isinstance(value, dict | Mapping) else _NOTHING  # a dict first: `Mapping` takes a microsecond


def items(value: object) -> list[object]:
    """Return the JSON array; an empty one for what is none."""
    return value if isinstance(value, list) else []


def at(payload: Mapping[str, object], *path: str) -> object:
    """Return the value at a path of object keys, or None."""
    value: object = payload
    for key in path:
        value = mapping(value).get(key)
    return value
