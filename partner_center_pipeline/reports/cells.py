"""Making text from outside safe in a cell: of a workbook, of a CSV file, of a page.

Names, notes and evidence come from other people's systems. They may hold formulas, control characters, half a surrogate
pair, or marks that change the direction of the text around them.
"""

import re
from typing import Final

CELL_MOST: Final = 32_767
"""Characters that Excel takes in a cell; it repairs (and loses) a file with more."""

_DROPPED: Final = re.compile("[\u200b\u200e\u200f\u061c\u202a-\u202e\u2060-\u2069\ufeff]")
"""Marks without a shape that change the direction of what follows, or hide in a name."""
_SPACES: Final = re.compile("[\t\r\n\v\f\x1c-\x1f\x85\u2028\u2029]+")
_REFUSED: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""What XML 1.0 does not take or UTF-8 cannot write, and control characters."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet read a text as a formula, the full-width forms too."""


def clean(text: str) -> str:
    """Return text on one line that every format can hold: a refused character becomes U+FFFD, direction marks go."""
    return _REFUSED.sub("\ufffd", _DROPPED.sub("", _SPACES.sub(" ", text)))


def fitting(text: str) -> str:
    """Return `clean` text that fits a cell of a workbook. Excel counts UTF-16 units, two for an emoji."""
    cleaned = clean(text)
    if len(cleaned) * 2 <= CELL_MOST:
        return cleaned
    units = cleaned.encode("utf-16-le")
    if len(units) <= CELL_MOST * 2:
        return cleaned
    return units[: (CELL_MOST - 1) * 2].decode("utf-16-le", "ignore") + "…"


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet could read the text as a formula. Blanks before it do not hinder that."""
    return text.lstrip(" \u00a0").startswith(_FORMULA)


def harmless(text: str) -> str:
    """Return `clean` text with an apostrophe before what a spreadsheet would read as a formula (for CSV)."""
    cleaned = clean(text)
    return f"'{cleaned}" if is_formula(cleaned) else cleaned
