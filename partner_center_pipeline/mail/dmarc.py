"""Reading DMARC records and deciding where they are looked for (RFC 9989). No look-up happens here."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

WALK_LIMIT: Final = 8
"""Queries of one tree walk at most (RFC 9989, "DNS Tree Walk")."""

POLICIES: Final = ("none", "quarantine", "reject")

_VERSION: Final = re.compile(r"\s*v\s*=\s*DMARC1\s*(;|$)")
_TAG: Final = re.compile(r"\s*([a-z][a-z0-9_]*)\s*=(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Dmarc:
    """One DMARC record.

    `policy` is `none`, `quarantine` or `reject`: the record's `p`, and `none` when `p` is missing or is no
    policy (`policy_note` then says `dmarc_policy_missing` or `dmarc_policy_invalid`). The other tags are kept
    as written, in lower case, and never read as `p`; `pct` is a legacy tag of RFC 7489. `found_at` is the
    domain whose `_dmarc` held the record: the domain itself or, by the tree walk, one above it.
    """

    record: str
    policy: str
    found_at: str
    sp: str | None = None
    np: str | None = None
    t: str | None = None
    psd: str | None = None
    pct: str | None = None
    policy_note: str | None = None


def is_dmarc(text: str) -> bool:
    """Whether a TXT record is a DMARC record: `v=DMARC1` is its first tag, in capitals."""
    return _VERSION.match(text) is not None


def parse_dmarc(text: str, found_at: str) -> Dmarc | None:
    """The DMARC record in `text`, or None when it is not one. Never raises. The first of a repeated tag counts."""
    if not is_dmarc(text):
        return None
    tags: dict[str, str] = {}
    for part in text.split(";")[1:]:
        if found := _TAG.fullmatch(part):
            tags.setdefault(found[1].lower(), found[2].strip().lower())
    written = tags.get("p")
    note = None
    if written is None:
        note = "dmarc_policy_missing"
    elif written not in POLICIES:
        note = "dmarc_policy_invalid"
    return Dmarc(
        record=text,
        policy=written if written in POLICIES else "none",
        found_at=found_at,
        sp=tags.get("sp"),
        np=tags.get("np"),
        t=tags.get("t"),
        psd=tags.get("psd"),
        pct=tags.get("pct"),
        policy_note=note,
    )


def select_dmarc(texts: Iterable[str], found_at: str) -> Dmarc | None:
    """The one DMARC record among a name's TXT records. More than one counts as none (RFC 9989, "DNS Tree Walk")."""
    records = [text for text in texts if is_dmarc(text)]
    return parse_dmarc(records[0], found_at) if len(records) == 1 else None


def tree_walk(domain: str) -> tuple[str, ...]:
    """The domains whose `_dmarc` is asked for, in order: the domain, then upwards, at most WALK_LIMIT in all.

    A domain of more than eight labels goes on with its last seven (RFC 9989, "DNS Tree Walk").
    """
    labels = domain.split(".")
    rest = labels[1:] if len(labels) <= WALK_LIMIT else labels[-(WALK_LIMIT - 1) :]
    return (domain, *(".".join(rest[start:]) for start in range(len(rest))))


def ends_walk(record: Dmarc) -> bool:
    """Whether the walk goes no further up: the record says that it stands at, or above, the organisational domain."""
    return record.psd in ("n", "y")


def choose(walked: Iterable[Dmarc]) -> Dmarc | None:
    """The record that holds for a domain without its own, from those found above it (RFC 9989, "Policy Discovery").

    `walked` goes upwards. That of the organisational domain comes first, then that of a public suffix. The
    organisational domain is the one right below a public suffix (`psd=y`), else the highest that has a record.
    """
    records = list(walked)
    if not records or records[-1].psd != "y":
        return records[-1] if records else None
    *below, suffix = records
    organisational = suffix.found_at.count(".") + 1
    return next((record for record in below if record.found_at.count(".") == organisational), suffix)
