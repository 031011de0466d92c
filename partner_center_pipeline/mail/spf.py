"""Reads SPF records (RFC 7208): what is written in them, not which senders they authorise. Pure.

Not here: looking up the records that a record includes (`scanner`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

LOOKUP_LIMIT: Final = 10
"""The largest number of terms that need a look-up, nested ones included (RFC 7208, section 4.6.4)."""

VOID_LIMIT: Final = 2
"""The largest number of look-ups that find nothing (RFC 7208, section 4.6.4)."""

_UNFOLLOWED: Final = frozenset("%\\")
"""Characters of a macro, and of a byte that is not UTF-8 (`wire.decode_text` escapes it): no host name to look up."""

_TERM: Final = re.compile(r"([+\-~?]?)([a-z][a-z0-9_.-]*)(?:([:=/])(.*))?", re.IGNORECASE | re.DOTALL)
_CIDR: Final = re.compile(r"\A(.*?)(?:/(\d{1,2}))?(?://(\d{1,3}))?\Z", re.DOTALL)

_NOBODY: Final = re.compile(r"v=spf1 +-all *", re.IGNORECASE)

_BITS: Final = {4: 32, 6: 128}
"""The bits of an address, by version."""

_NEED_LOOKUP: Final = ("include", "a", "mx", "ptr", "exists", "redirect")


@dataclass(frozen=True, slots=True)
class Spf:
    """A domain's SPF as written.

    `record` is None when there is no record, or more than one: then `multiple` is True, and the domain scores as if it
    had none (reason `spf_multiple_records`). `includes` are the include targets in order, with repetitions. `redirect`
    is the target of `redirect=`. `all` is the qualifier of the `all` mechanism (`+`, `-`, `~` or `?`), or None.

    `targets` are the domains that can be looked up and whose senders the record lets pass, in order, each once: of
    includes before `all` that have no other qualifier than `+`, and of `redirect=` where there is no `all` (RFC 7208,
    sections 5.1 and 6.1). `followed` are all the domains that a receiver looks up. `networks` are the address ranges
    that it lets pass. `lookups` is the number of its terms that need a look-up. `error` is the first term that makes
    the record a permanent error for receivers (RFC 7208, section 4.6), `ignored` the first term after `all`.
    """

    record: str | None = None
    multiple: bool = False
    includes: tuple[str, ...] = ()
    redirect: str | None = None
    all: str | None = None
    targets: tuple[str, ...] = ()
    followed: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    lookups: int = 0
    error: str | None = None
    ignored: str | None = None

    @property
    def present(self) -> bool:
        """Whether there is exactly one record."""
        return self.record is not None

    @property
    def include_count(self) -> int:
        """The number of includes as written."""
        return len(self.includes)

    @property
    def lets_nobody_pass(self) -> bool:
        """Whether the record says of every sender that it is a forgery (`v=spf1 -all`): the domain sends no mail."""
        return self.record is not None and _NOBODY.fullmatch(self.record) is not None

    @property
    def allows_all(self) -> bool:
        """Whether the record lets every sender in the world pass (`+all`, or `all`, which means the same)."""
        return self.all == "+"


def is_spf(text: str) -> bool:
    """Say whether a TXT record is an SPF record: `v=spf1`, then the end or a space (RFC 7208, section 4.5)."""
    return text[:6].lower() == "v=spf1" and text[6:7] in ("", " ")


def parse_spf(texts: Iterable[str]) -> Spf:
    """Return the SPF among the TXT records of one name. Never raises: `Spf.error` names what receivers refuse."""
    records = [text for text in texts if is_spf(text)]
    if len(records) != 1:
        return Spf(multiple=len(records) > 1)
    read = _Reader()
    for term in records[0].split()[1:]:
        read.term(term)
    return read.spf(records[0])


class _Reader:
    """Reads the terms of one record in their order."""

    def __init__(self) -> None:
        self._includes: list[str] = []
        self._passed: list[str] = []
        self._followed: list[str] = []
        self._networks: list[str] = []
        self._redirects: list[str] = []
        self._lookups = 0
        self._explanations = 0
        self._all: str | None = None
        self._error: str | None = None
        self._ignored: str | None = None

    def term(self, term: str) -> None:
        match = _TERM.fullmatch(term)
        if match is None:
            self._refuse(term)
            return
        qualifier, name, separator, value = match[1], match[2].lower(), match[3], match[4] or ""
        if separator == "=":
            self._modifier(term, qualifier, name, value)
            return
        if not _is_mechanism(name, separator, value):
            self._refuse(term)
        if self._all is not None:
            self._ignored = self._ignored or term
        elif name in _NEED_LOOKUP:
            self._lookups += 1
        if name == "include" and separator == ":":
            self._includes.append(_domain(value))
            if self._all is None:
                self._followed.append(_domain(value))
                if qualifier in ("", "+"):
                    self._passed.append(_domain(value))
        elif name == "all" and self._all is None:
            self._all = qualifier or "+"
        elif name in ("ip4", "ip6") and self._all is None and qualifier in ("", "+"):
            self._networks.append(f"{name}:{value}")

    def _modifier(self, term: str, qualifier: str, name: str, value: str) -> None:
        # Unknown modifiers are allowed and ignored (RFC 7208, section 6).
        if qualifier:
            self._refuse(term)
        elif name == "redirect":
            self._redirects.append(_domain(value))
            if len(self._redirects) > 1 or not value:
                self._refuse(term)
        elif name == "exp":
            self._explanations += 1
            if self._explanations > 1 or not value:
                self._refuse(term)

    def _refuse(self, term: str) -> None:
        self._error = self._error or term

    def spf(self, record: str) -> Spf:
        redirect = self._redirects[0] if self._redirects else ""
        redirects = (redirect,) if redirect and self._all is None else ()
        return Spf(
            record,
            includes=tuple(self._includes),
            redirect=redirect or None,
            all=self._all,
            targets=_names((*self._passed, *redirects)),
            followed=_names((*self._followed, *redirects)),
            networks=tuple(dict.fromkeys(self._networks)),
            lookups=self._lookups + len(redirects),
            error=self._error,
            ignored=self._ignored,
        )


def _is_mechanism(name: str, separator: str | None, value: str) -> bool:
    """Say whether a mechanism is one of RFC 7208, section 5, and is written as that section wants it."""
    if name == "all":
        return separator is None
    if name in ("include", "exists"):
        return separator == ":" and bool(value)
    if name == "ptr":
        return separator is None or (separator == ":" and bool(value))
    if name in ("ip4", "ip6"):
        return separator == ":" and parse_network(f"{name}:{value}") is not None
    if name not in ("a", "mx"):
        return False
    if separator is None:
        return True
    ((domain, four, six),) = _CIDR.findall(value if separator == ":" else f"/{value}")
    return int(four or 0) <= _BITS[4] and int(six or 0) <= _BITS[6] and bool(domain) is (separator == ":")


def parse_network(term: str) -> IPv4Network | IPv6Network | None:
    """Return the range of an `ip4:` or `ip6:` mechanism, or None when it is none of that kind."""
    kind, _, text = term.partition(":")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    return network if network.version == int(kind[-1]) else None


def _names(domains: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in domains if name and name.isascii() and not _UNFOLLOWED & set(name)))


def _domain(text: str) -> str:
    return text.lower().rstrip(".")
