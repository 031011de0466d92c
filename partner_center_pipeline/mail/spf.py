"""Reads SPF records (RFC 7208): what is written in them, not which senders they authorise. Pure.

Not here: looking up the records that a record includes (`scanner`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LOOKUP_LIMIT: Final = 10
"""The largest number of nested look-ups (RFC 7208, section 4.6.4)."""

_UNFOLLOWED: Final = frozenset("%\\")
"""Characters of a macro, and of a byte that is not UTF-8 (`wire.decode_text` escapes it): no host name to look up."""

_ALL: Final = re.compile(r"([+\-~?]?)all", re.IGNORECASE)
_INCLUDE: Final = re.compile(r"[+\-~?]?include:(.*)", re.IGNORECASE | re.DOTALL)
_REDIRECT: Final = re.compile(r"redirect=(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spf:
    """A domain's SPF as written.

    `record` is None when there is no record, or more than one: then `multiple` is True, and the domain scores as if it
    had none (reason `spf_multiple_records`). `includes` are the include targets in order, with repetitions. `redirect`
    is the target of `redirect=`. `all` is the qualifier of the `all` mechanism (`+`, `-`, `~` or `?`), or None.
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
        """The number of includes as written."""
        return len(self.includes)

    @property
    def targets(self) -> tuple[str, ...]:
        """The domains of `includes` and `redirect` that can be looked up, in order, each once."""
        names = (*self.includes, *((self.redirect,) if self.redirect else ()))
        return tuple(dict.fromkeys(name for name in names if name and name.isascii() and not _UNFOLLOWED & set(name)))


def is_spf(text: str) -> bool:
    """Say whether a TXT record is an SPF record: `v=spf1`, then the end or a space (RFC 7208, section 4.5)."""
    return text[:6].lower() == "v=spf1" and text[6:7] in ("", " ")


def parse_spf(texts: Iterable[str]) -> Spf:
    """Return the SPF among the TXT records of one name. Never raises: unknown terms are ignored."""
    records = [text for text in texts if is_spf(text)]
    if len(records) != 1:
        return Spf(multiple=len(records) > 1)
    includes: list[str] = []
    redirect: str | None = None
    all_: str | None = None
    for term in records[0].split()[1:]:
        if include := _INCLUDE.fullmatch(term):
            includes.append(_domain(include[1]))
        elif target := _REDIRECT.fullmatch(term):
            redirect = redirect or _domain(target[1])
        elif (qualifier := _ALL.fullmatch(term)) and all_ is None:
            all_ = qualifier[1] or "+"
    return Spf(records[0], includes=tuple(includes), redirect=redirect or None, all=all_)


def _domain(text: str) -> str:
    return text.lower().rstrip(".")
