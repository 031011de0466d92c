"""Company names, repaired for people and folded for comparison (identity.md, "Company names"); repair of other texts.

Not here: which leads share a company (`company`); a likely match by name is a suggestion, never a merge.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import ftfy
from ftfy.badness import is_bad

from partner_center_pipeline.leads.folding import INVISIBLE, fold_key
from partner_center_pipeline.leads.known_domains import ABBREVIATED_TRADES, LEADING_LEGAL_FORMS, LEGAL_FORMS
from partner_center_pipeline.leads.latin5 import read_as_turkish

# Quotes stay as typed; `unescape_html` is on even for a text with a "<".
_REPAIRS: Final = ftfy.TextFixerConfig(unescape_html=True, uncurl_quotes=False, explain=False)
_WHOLE: Final = ftfy.TextFixerConfig(decode_inconsistent_utf8=False, explain=False)

_CLEAN: Final = re.compile(r"[\n -%'-~çÇğĞıİöÖşŞüÜ]*")
"""Texts of these characters alone have no encoding to repair, unless they are `is_bad`: no escapes of HTML or of
terminals, ligatures, wide or control characters, and each letter is one character already. A property compares."""

_CACHED_NAMES: Final = 16_384
"""Names remembered, some 9 MB: a company's referrals share theirs."""
_LONGEST_CACHED: Final = 1024
"""Characters of a name that is remembered."""

_AND: Final = frozenset({"ve", "and"})
_LONGEST_FORM: Final = max(len(form.split()) for form in LEGAL_FORMS | LEADING_LEGAL_FORMS)
_WITH_DOT: Final = re.compile(r"\b(\w+)\.")  # without \b it takes seconds for a word of 30,000 letters
_INITIALS: Final = re.compile(r"(?<=\b\w) (?=\w\b)")


@dataclass(frozen=True, slots=True)
class CompanyName:
    """A company's name: for people, as received, and for comparison. `name` and `key` are None when there is none."""

    name: str | None
    original: str | None
    key: str | None


def company_name(text: object, *, of_turkey: bool = False) -> CompanyName:
    """Read the name in `customerProfile.name`. Never raises; anything but text counts as no name.

    `of_turkey`: the company's address is in Turkey (`latin5.read_as_turkish`).
    """
    if not isinstance(text, str):
        return CompanyName(None, None, None)
    return _read_name(text, of_turkey) if len(text) <= _LONGEST_CACHED else _read_name.__wrapped__(text, of_turkey)


@lru_cache(maxsize=_CACHED_NAMES)
def _read_name(text: str, of_turkey: bool) -> CompanyName:
    name = repair_line(text, of_turkey=of_turkey)
    return CompanyName(name, text, company_key(name) if name else None)


def company_key(name: str) -> str | None:
    """Return the comparison key of a name: folded, without its legal form; None without any letter or digit.

    Only forms at the end (and a few at the start) are dropped, so `Ankara Ticaret Odası` keeps its Ticaret. So are
    abbreviated trades there: `Mak.`, or `MAK` with a form behind it. At least one word stays.
    """
    words = [word for word in fold_key(name).split() if word not in _AND]
    abbreviated = {fold_key(word) for word in _WITH_DOT.findall(name)}
    behind = False
    while len(words) > 1:
        is_trade = words[-1] in ABBREVIATED_TRADES and (behind or words[-1] in abbreviated)
        drop = 1 if is_trade else _form_length(words[1:], LEGAL_FORMS, at_end=True)
        if not drop:
            break
        del words[-drop:]
        behind = True
    while drop := _form_length(words[:-1], LEADING_LEGAL_FORMS, at_end=False):
        del words[:drop]
    return _INITIALS.sub("", " ".join(words)) or fold_key(name) or None


def repair_text(text: str, *, of_turkey: bool = False) -> str | None:
    """Undo wrong encodings and HTML escapes in a text of several lines; return None when nothing is left."""
    if _CLEAN.fullmatch(text) and (text.isascii() or not is_bad(text)):  # nothing to repair, and ftfy is slow
        return text.strip() or None
    return repaired(text, of_turkey=of_turkey)


def repaired(text: str, *, of_turkey: bool = False) -> str | None:
    """Do as `repair_text`, without a look at whether there is anything to repair."""
    if is_bad(text):  # all of it, else word by word: where only some words are broken, ftfy would repair half of one
        text = " ".join(map(ftfy.fix_encoding, ftfy.fix_encoding(text, _WHOLE).split(" ")))
    return read_as_turkish(ftfy.fix_text(text, _REPAIRS), of_turkey=of_turkey).translate(INVISIBLE).strip() or None


def repair_line(text: str, *, of_turkey: bool = False) -> str | None:
    """Do as `repair_text`, on one line with single blanks."""
    return " ".join((repair_text(text, of_turkey=of_turkey) or "").split()) or None


def _form_length(words: list[str], forms: frozenset[str], *, at_end: bool) -> int:
    """Return how many words the longest of the forms at that end of the words has; 0 when there is none."""
    for count in range(min(_LONGEST_FORM, len(words)), 0, -1):
        if " ".join(words[-count:] if at_end else words[:count]) in forms:
            return count
    return 0
