"""Where in a host name the registrable part begins: the Public Suffix List and its matching.

The list is tldextract's; the matching is the list's own algorithm (publicsuffix.org/list, "Algorithm"): of the ten
microseconds that one text may take, tldextract's spends 3.3 on each host and this one 0.7.

Two decisions about its private part: a page at a hoster (`firma.azurewebsites.net`, `firma.blogspot.com`) is no
company's domain, as neither the page nor the hoster is the customer; and under the few private suffixes that are sold
like a registry's (`firma.uk.com`), a name is a domain like any other. Not here: what a host name is (`domains`).
"""

import re
from functools import cache
from typing import Final, NamedTuple

from partner_center_pipeline.leads.known_domains import SOLD_PRIVATE_SUFFIXES

_WWW: Final = re.compile(r"www\d*")


class Registrable(NamedTuple):
    """The registrable domain of a host name; `hosted` when the host is a page of somebody else there."""

    domain: str
    hosted: bool


class _Rules(NamedTuple):
    all: frozenset[str]
    registries: frozenset[str]
    public: frozenset[str]
    """Those of registries, and the private ones that are sold like them."""


class _Match(NamedTuple):
    rule: str
    suffix: str
    domain: str | None


def registrable(name: str) -> Registrable | None:
    """Return the registrable domain of a lower-case punycode name; None for a bare or an unknown suffix."""
    rules = _rules()
    found = _match(name, rules.all)
    if found is None:
        return None
    if found.rule in rules.public:
        return None if found.domain is None else Registrable(found.domain, False)
    # The hoster itself, with or without www, is a company; everyone below it is a tenant.
    owner = _match(name, rules.registries)
    if owner is None or owner.domain is None:
        return None
    tenant = name.removesuffix(found.suffix).rstrip(".")
    return Registrable(owner.domain, hosted=bool(tenant) and not _WWW.fullmatch(tenant))


def _match(name: str, rules: frozenset[str]) -> _Match | None:
    """Return the rule for a name: the longest, and an exception (`!www.ck`) before its wildcard (`*.ck`)."""
    domain, above = None, name
    while above:
        rest = above.partition(".")[2]
        if above in rules:
            return _Match(above, above, domain)
        if (wildcard := f"*.{rest}") in rules:
            exception = f"!{above}"
            return _Match(exception, rest, above) if exception in rules else _Match(wildcard, above, domain)
        domain, above = above, rest
    return None


@cache
def _rules() -> _Rules:
    """Return the rules. They are loaded when the first name is read: it takes as long as importing SQLAlchemy."""
    registries = _load_rules(private=False)
    return _Rules(_load_rules(private=True), registries, registries | SOLD_PRIVATE_SUFFIXES)


def _load_rules(*, private: bool) -> frozenset[str]:
    """Load the rules in punycode, from the copy inside tldextract: no network, no cache folder."""
    from tldextract import TLDExtract  # it imports an HTTP client, which takes a tenth of a second

    listed = TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=private).tlds
    return frozenset(
        ".".join(
            label if label.isascii() else f"xn--{label.encode('punycode').decode('ascii')}" for label in rule.split(".")
        )
        for rule in listed
    )
