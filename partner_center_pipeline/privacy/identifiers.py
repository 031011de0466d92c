"""E-mail addresses, telephone numbers and names: their keys for comparing, and where they stand in a text.

Two spellings of the same address, number or name have the same key. A key is personal data; what is stored of it is a
keyed digest (`Keyed`).
"""

import hmac
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple, Self

import idna

from partner_center_pipeline.leads.folding import INVISIBLE, fold_letters
from partner_center_pipeline.leads.names import repair_line


class Kind(StrEnum):
    """What a digest was made of."""

    EMAIL = "email"
    PHONE = "phone"
    NAME = "name"
    REFERRAL = "referral"
    """A referral that names the person, by its id. Only there the kinds below count."""
    REFERRAL_EMAIL = "referral_email"
    REFERRAL_PHONE = "referral_phone"
    REFERRAL_NAME = "referral_name"
    """In one referral the same name is the same person."""

    @property
    def in_referral(self) -> "Kind":
        """The kind of an EMAIL, a PHONE or a NAME that counts in one referral."""
        return Kind(f"referral_{self}")


class UnusableIdentifierError(Exception):
    """What was given identifies nobody. The message says why, without repeating it."""


@dataclass(frozen=True, slots=True)
class Identifier:
    """An e-mail address, a telephone number or a name, as its key."""

    kind: Kind
    key: str

    @classmethod
    def read(cls, kind: Kind, text: str) -> Self:
        """Read what a person typed. Raises UnusableIdentifierError."""
        match kind:
            case Kind.EMAIL:
                found = [place.key for place in emails_in(text.strip())]
                if len(found) != 1:
                    raise UnusableIdentifierError("--email takes one e-mail address, such as ayse@example.com.tr")
                return cls(kind, found[0])
            case Kind.PHONE:
                key = phone_key(text)
                if key is None:
                    raise UnusableIdentifierError(
                        f"--phone takes one telephone number of {_FEWEST_DIGITS} to {_MOST_DIGITS} digits, such as "
                        "+90 532 000 00 00"
                    )
                return cls(kind, key)
            case _:
                key = name_key(text)
                if " " not in key:
                    raise UnusableIdentifierError("--name takes a full name: a single word is the name of too many")
                return cls(Kind.NAME, key)


@dataclass(frozen=True, slots=True)
class Keyed:
    """Makes keyed digests (HMAC-SHA256) that nobody can make, or try out, without the secret."""

    secret: bytes

    def digest(self, kind: str, key: str) -> str:
        """Return the digest of a key, in hex."""
        text = f"{kind}\n{key}".encode("utf-8", "surrogatepass")
        return hmac.digest(self.secret, text, "sha256").hex()


class Place(NamedTuple):
    """Where an identifier stands in a text: `text[start:end]`, its key, and of an address the domain as written."""

    start: int
    end: int
    key: str
    domain: str = ""


# E-mail addresses -----------------------------------------------------------------------------------------------------

_AT: Final = re.compile("@|%40|\uff20|\ufe6b")
_NOT_LOCAL: Final = frozenset(' \t\r\n\v\f\xa0@<>()[]{},;:"|\\\u201c\u201d\u2018\u2019\u00ab\u00bb')
_INSIDE_LOCAL: Final = re.compile("['/=?&]")
"""Marks that an address may have, but that stand before one more often."""
_DOMAIN: Final = re.compile(r"[\w.\-" + "".join(map(chr, INVISIBLE)) + "]+")
_LONGEST_PART: Final = 256


def emails_in(text: str) -> Iterator[Place]:
    """Yield the addresses in a text, each also without what stands before it with a mark between."""
    for at in _AT.finditer(text):
        domain = _DOMAIN.match(text, at.end(), at.end() + _LONGEST_PART)
        name = domain[0].rstrip(".-_") if domain else ""
        if not name:
            continue
        start, lowest = at.start(), max(0, at.start() - _LONGEST_PART)
        while start > lowest and text[start - 1] not in _NOT_LOCAL:
            start -= 1
        local, end = text[start : at.start()], at.end() + len(name)
        for begin in (0, *(mark.end() for mark in _INSIDE_LOCAL.finditer(local))):
            key = email_key(local[begin:], name)
            if key is not None:
                yield Place(start + begin, end, key, name.translate(INVISIBLE))


def email_key(local: str, domain: str) -> str | None:
    """Return the key of an address: in one case, Turkish letters folded, its domain in Unicode; None without a name."""
    name = fold_letters(unicodedata.normalize("NFKC", local.translate(INVISIBLE))).strip(".")
    host = unicodedata.normalize("NFKC", domain.translate(INVISIBLE)).lower().strip(".")
    if "xn--" in host:
        with suppress(idna.IDNAError, UnicodeError):
            host = idna.decode(host)
    return f"{name}@{fold_letters(host)}" if name and host else None


# Telephone numbers ----------------------------------------------------------------------------------------------------

_FEWEST_DIGITS: Final = 7
_MOST_DIGITS: Final = 15
"""E.164, section 6."""
_DIGITS: Final = re.compile(r"\d+")
_BETWEEN: Final = re.compile("[\\s().+/\u2010-\u2015-]{1,3}")
_MANY_DIGITS: Final = re.compile(r"\d(?:\D{0,3}\d){6}")
_BEFORE: Final = "+("
_TURKEY: Final = "90"
_NATIONAL: Final = 10
"""Digits of a Turkish number without its country and without the 0 before it."""


def phone_key(text: str) -> str | None:
    """Return the key of a text that is one number: digits with their country. Without a country it is Turkish."""
    digits = "".join(str(unicodedata.digit(letter)) for letter in text if letter.isdecimal())
    if any(letter.isalpha() for letter in text):  # an extension would be taken for a part of the number
        return None
    if not _FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS:
        return None
    return _phone_key(digits, has_plus=text.lstrip(" (\t\u200e\u202a").startswith("+"))


def _phone_key(digits: str, *, has_plus: bool) -> str:
    if not has_plus and digits.startswith("00"):
        digits, has_plus = digits[2:], True
    if has_plus or (len(digits) == len(_TURKEY) + _NATIONAL and digits.startswith(_TURKEY)):
        if digits.startswith(_TURKEY + "0"):  # +90 (0)532
            digits = _TURKEY + digits[len(_TURKEY) + 1 :]
        return f"+{digits}"
    national = digits.removeprefix("0")
    return f"+{_TURKEY}{national}" if len(national) == _NATIONAL else digits


def phones_in(text: str) -> Iterator[Place]:
    """Yield what may be a number in a text: groups of digits that follow each other, 7 to 15 digits together."""
    if not _MANY_DIGITS.search(text):
        return
    groups = [group for group in _DIGITS.finditer(text) if _stands_alone(text, group)]
    for first, group in enumerate(groups):
        start = group.start()
        while start > 0 and text[start - 1] in _BEFORE:
            start -= 1
        has_plus = "+" in text[start : group.start()]
        digits, end = "", group.start()
        for following in groups[first:]:
            if digits and not _BETWEEN.fullmatch(text, end, following.start()):
                break
            digits += "".join(str(unicodedata.digit(letter)) for letter in following[0][: _MOST_DIGITS + 1])
            end = following.end()
            if len(digits) > _MOST_DIGITS:
                break
            if len(digits) >= _FEWEST_DIGITS:
                yield Place(start, end, _phone_key(digits, has_plus=has_plus))


def _stands_alone(text: str, group: re.Match[str]) -> bool:
    before, after = text[group.start() - 1 : group.start()], text[group.end() : group.end() + 1]
    return not (before.isalpha() or before == "_" or after.isalpha() or after == "_")


# Names ----------------------------------------------------------------------------------------------------------------

_WORD: Final = re.compile("(?:[^\\W\\d_]|[\u0300-\u036f" + "".join(map(chr, INVISIBLE)) + "])+")
_BETWEEN_WORDS: Final = re.compile(r"\.?\s+|[-'\u2019]")


def name_key(text: str) -> str:
    """Return the key of a name: its words in order, folded, with single blanks between; perhaps ""."""
    return " ".join(filter(None, (_folded(word[0]) for word in _WORD.finditer(repair_line(text) or ""))))


def _folded(word: str) -> str:
    return fold_letters(word.translate(INVISIBLE))


def names_in(text: str, lengths: frozenset[int]) -> Iterator[Place]:
    """Yield what may be a name in a text: words that follow each other, as many as one of `lengths` says."""
    if not _BETWEEN_WORDS.search(text) and 1 not in lengths:
        return
    words = [(word.start(), word.end(), _folded(word[0])) for word in _WORD.finditer(text)]
    for first, (start, _, _) in enumerate(words):
        for length in lengths:
            chosen = words[first : first + length]
            if len(chosen) == length and all(
                _BETWEEN_WORDS.fullmatch(text, before[1], after[0]) for before, after in pairwise(chosen)
            ):
                yield Place(start, chosen[-1][1], " ".join(word for _, _, word in chosen))
