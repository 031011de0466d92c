"""Reads DMARC records and says at which names to look for them (RFC 9989). Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from partner_center_pipeline.vocabulary import DmarcPolicy

WALK_LIMIT: Final = 8
"""The largest number of queries in one tree walk (RFC 9989, "DNS Tree Walk")."""

POLICIES: Final = tuple(DmarcPolicy)

_VERSION: Final = re.compile(r"\s*v\s*=\s*DMARC1\s*(;|$)")
_TAG: Final = re.compile(r"\s*([a-z][a-z0-9_]*)\s*=(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Dmarc:
    """One DMARC record.

    `policy` is the record's `p`: `none`, `quarantine` or `reject`. When `p` is missing or is no policy, `policy` is
    `none` and `policy_note` is `dmarc_policy_missing` or `dmarc_policy_invalid`. Of a record that a domain inherits
    from a public suffix it is that record's `sp` or `np` (`inherited`). The other tags are kept as written, in lower
    case, and never replace `p` of a domain's own record. `pct` is a legacy tag of RFC 7489. `found_at` is the domain
    that has the record at its `_dmarc` name: the domain itself or, found by the tree walk, a domain above it.
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
    """Say whether a TXT record is a DMARC record: its first tag is `v=DMARC1`, in capitals."""
    return _VERSION.match(text) is not None


def parse_dmarc(text: str, found_at: str) -> Dmarc | None:
    """Return the DMARC record in `text`, or None if it is not one. The first of a repeated tag counts. Never raises."""
    if not is_dmarc(text):
        return None
    tags: dict[str, str] = {}
    for part in text.split(";")[1:]:
        if tag := _TAG.fullmatch(part):
            tags.setdefault(tag[1].lower(), tag[2].strip().lower())
    policy = tags.get("p")
    note = None
    if policy is None:
        note = "dmarc_policy_missing"
    elif policy not in POLICIES:
        note = "dmarc_policy_invalid"
    return Dmarc(
        record=text,
        policy=policy if policy in POLICIES else "none",
        found_at=found_at,
        sp=tags.get("sp"),
        np=tags.get("np"),
        t=tags.get("t"),
        psd=tags.get("psd"),
        pct=tags.get("pct"),
        policy_note=note,
    )


def select_dmarc(texts: Iterable[str], found_at: str) -> Dmarc | None:
    """Return the DMARC record of a name's TXT records; None when there is none or more than one (RFC 9989)."""
    records = [text for text in texts if is_dmarc(text)]
    return parse_dmarc(records[0], found_at) if len(records) == 1 else None


def tree_walk(domain: str) -> tuple[str, ...]:
    """Return the domains to ask for a `_dmarc` record, in order: `domain`, then those above it, at most WALK_LIMIT.

    After a domain of more than eight labels comes the domain of its last seven (RFC 9989, "DNS Tree Walk").
    """
    labels = domain.split(".")
    rest = labels[1:] if len(labels) <= WALK_LIMIT else labels[-(WALK_LIMIT - 1) :]
    return (domain, *(".".join(rest[start:]) for start in range(len(rest))))


def ends_walk(record: Dmarc) -> bool:
    """Say whether the walk ends here: the record says that it is at, or above, the organisational domain."""
    return record.psd in ("n", "y")


def choose(walked: Iterable[Dmarc]) -> Dmarc | None:
    """Return the record that applies to a domain without its own (RFC 9989, "Policy Discovery"), or None.

    `walked` are the records found above the domain, from the lowest to the highest. The record of the organisational
    domain comes before that of a public suffix (`psd=y`). The organisational domain is the one directly below a public
    suffix or, without a public suffix, the highest domain that has a record.
    """
    records = list(walked)
    if not records or records[-1].psd != "y":
        return records[-1] if records else None
    *below, suffix = records
    organisational = suffix.found_at.count(".") + 1
    return next((record for record in below if record.found_at.count(".") == organisational), suffix)


def inherited(record: Dmarc, *, exists: bool) -> Dmarc:
    """Return the record of a public suffix (`psd=y`) with the policy that it sets for the domains below it.

    That is `np` for a name that does not exist (`exists` is False), else `sp`, else `p` (RFC 9989, "Policy Discovery").
    A record of another kind is returned as it is.
    """
    if record.psd != "y":
        return record
    policies = (record.sp,) if exists else (record.np, record.sp)
    policy = next((policy for policy in policies if policy in POLICIES), None)
    return record if policy is None else replace(record, policy=policy, policy_note=None)
