"""Folding letters that look or sound alike into one: for keys of comparison, never for what people see.

Not here: what a domain or a company name is (`domains`, `names`).
"""

import re
import unicodedata
from typing import Final

_INVISIBLE_CODES: Final = (
    0xAD, 0x61C, 0x180E, 0x200B, *range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065),
    *range(0x2066, 0x206A), 0xFEFF,
)  # fmt: skip
INVISIBLE: Final[dict[int, None]] = dict.fromkeys(_INVISIBLE_CODES)
"""For `str.translate`: drops soft hyphen, zero-width space, marks of direction, word joiner and BOM.

The zero-width joiners stay: they are letters' parts in Persian and Indic writing.
"""

_DOTLESS: Final = {ord("ı"): "i"}
_MARK: Final = re.compile("[\u0300-\u036f]+")
_NOT_A_WORD: Final = re.compile(r"[\W_]+")
_APOSTROPHE: Final = re.compile("['’ʼ`´]")


def fold_letters(text: str) -> str:
    """Return the text in lower case with {I, İ, ı, i} as i, ş as s, ğ as g, ç as c, and so on for every accent.

    `casefold()` alone does not do this: it leaves ı, and U+0307 of İ (identity.md, "Normalising a domain").
    """
    if text.isascii():
        return text.lower()
    for _ in range(2):  # what casefold opens may decompose further
        text = _MARK.sub("", unicodedata.normalize("NFKD", text)).casefold().translate(_DOTLESS)
    return text


def without_invisible(text: str) -> str:
    """Return the text without the characters of `INVISIBLE`."""
    return text if text.isascii() else text.translate(INVISIBLE)


def fold_key(text: str) -> str:
    """Return a key for comparing names: folded letters and digits, single blanks between words; may be ""."""
    bare = _APOSTROPHE.sub("", without_invisible(text))
    return _NOT_A_WORD.sub(" ", fold_letters(bare)).strip()
