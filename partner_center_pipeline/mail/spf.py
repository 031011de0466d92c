"""Reading SPF records (RFC 7208) as far as the product needs them: what is written, not what it authorises.

No look-up happens here: `scanner` walks the nested records and asks this module what to look up next.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LOOKUP_LIMIT: Final = 10
"""Nested look-ups that are followed at most (RFC 7208, section 4.6.4)."""

_UNFOLLOWED: Final = frozenset("%\\")

_ALL: Final = re.compile(r"([+\-~?]?)all", re.IGNORECASE)
_INCLUDE: Final = re.compile(r"[+\-~?]?include:(.*)", re.IGNORECASE | re.DOTALL)
_REDIRECT: Final = re.compile(r"redirect=(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spf:
    """A domain's SPF as written.

    `record` is None when there is none or more than one; `multiple` says which (more than one is an error and
    scores as none, reason `spf_multiple_records`). `includes` are the include targets in order, repetitions
    kept; `redirect` is the target of `redirect=`. `all` is the qualifier of the `all` mechanism, one of `+ -
    ~ ?`, or None without one.
    """

    record: str | None = None
    multiple: bool = False
    includes: tuple[str, ...] = ()
    redirect: str | None = None
    all: str | None = None

    @property
    def present(self) -> bool:
        """Whether there is exactly one record."""
        return self.record is not None

    @property
    def include_count(self) -> int:
        """Includes as written."""
        return len(self.includes)

    @property
    def targets(self) -> tuple[str, ...]:
        """The domains whose records this one draws on, in order and without repetition; a macro cannot be
        followed, nor what is no host name (a byte that is no UTF-8 is an escape here, and another name in DNS)."""
        names = (*self.includes, *((self.redirect,) if self.redirect else ()))
        return tuple(dict.fromkeys(name for name in names if name and name.isascii() and not _UNFOLLOWED & set(name)))


def is_spf(text: str) -> bool:
    """Whether a TXT record is an SPF record of version 1: `v=spf1`, then the end or a blank (RFC 7208, section 4.5)."""
    return text[:6].lower() == "v=spf1" and text[6:7] in ("", " ")


def parse_spf(texts: Iterable[str]) -> Spf:
    """The SPF among the TXT records of one name. Never raises: a term that means nothing is passed over."""
    records = [text for text in texts if is_spf(text)]
    if len(records) != 1:
        return Spf(multiple=len(records) > 1)
    includes: list[str] = []
    redirect: str | None = None
    all_: str | None = None
    for term in records[0].split()[1:]:
        if include := _INCLUDE.fullmatch(term):
            includes.append(_domain(include[1]))
        elif found := _REDIRECT.fullmatch(term):
            redirect = redirect or _domain(found[1])
        elif (found := _ALL.fullmatch(term)) and all_ is None:
            all_ = found[1] or "+"
    return Spf(records[0], includes=tuple(includes), redirect=redirect or None, all=all_)


def _domain(text: str) -> str:
    return text.lower().rstrip(".")
