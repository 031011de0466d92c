"""The order of names: that of the Turkish alphabet, in which ç follows c and ı stands before i."""

import re
from typing import Final
from unicodedata import normalize

_PLACES: Final = {letter: chr(0x100 + place) for place, letter in enumerate("abcçdefgğhıijklmnoöpqrsştuüvwxyz")}
_MARK: Final = "\x01"
_NUMBER: Final = "\x02"
_DIGITS_MOST: Final = 300
"""Of a number; the rest of a longer one does not count."""


def name_key(name: str) -> str:
    """Return what to sort a name by: marks first, then numbers by value, then the Turkish alphabet, case aside.

    A letter with a foreign accent counts as its base letter (â as a), and decides only between names that are alike
    otherwise. Letters of another alphabet come last.
    """
    lowered = normalize("NFC", name.replace("I", "ı").replace("İ", "i").lower())
    return "".join(map(_place, re.findall(r"\d+|\D", lowered))) + "\0" + lowered


def _place(part: str) -> str:
    if part in _PLACES:
        return _PLACES[part]
    if part.isdecimal():
        digits = str(int(part[:_DIGITS_MOST]))
        return _NUMBER + chr(len(digits)) + digits
    base = normalize("NFD", part)[0]
    return _PLACES.get(base) or (chr(0x200) + part if part.isalpha() else _MARK + part)
