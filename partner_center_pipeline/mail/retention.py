"""Which facts are kept after a scan, and when to scan again (mail_signals.md, "Outcomes are facts or not facts").

Not here: what one set of answers means (`classification`), the clock (the caller).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from partner_center_pipeline.mail.classification import conclude
from partner_center_pipeline.mail.providers import provider_table
from partner_center_pipeline.mail.signals import (
    ADDRESS,
    AUTODISCOVER,
    AUTODISCOVER_SRV,
    DMARC,
    DMARC_ABOVE,
    ENTERPRISE_REGISTRATION,
    LYNCDISCOVER,
    MX,
    MX_ADDRESSES,
    MX_HOSTS,
    NEEDED,
    NS,
    SPF_ERROR,
    SPF_NESTED,
    TENANT,
    TXT,
    Doubt,
    Lookup,
    MailSignals,
    dkim_lookup,
    selector_of,
)
from partner_center_pipeline.mail.spf import parse_spf
from partner_center_pipeline.vocabulary import Provider, TenantSource

FIRST_RETRY_SECONDS: Final = 600
"""The wait after the first scan that missed an answer."""

LONGEST_RETRY_SECONDS: Final = 86_400
"""The longest wait: doubling ends at a day."""

LONGEST_KEPT_DAYS: Final = 30
"""For so long an old answer that can name the mailbox stays while the look-up brings none."""

_PARENTS: Final[Mapping[str, tuple[str, ...]]] = {
    ADDRESS: (MX,),
    MX_HOSTS: (MX,),
    MX_ADDRESSES: (MX, MX_HOSTS),
    AUTODISCOVER_SRV: (MX, MX_HOSTS),
    **{dkim_lookup(selector): (MX, MX_HOSTS) for selector in provider_table().selectors},
    SPF_NESTED: (MX, TXT),
    SPF_ERROR: (MX, TXT),
    DMARC_ABOVE: (DMARC,),
}
"""Look-ups that are made only when the answers of these others call for it."""

_UNNAMED_PROVIDERS: Final = (Provider.LOCAL, Provider.UNKNOWN)


def _can_name_provider(lookup: str) -> bool:
    named = (
        *(MX, ADDRESS, MX_HOSTS, MX_ADDRESSES, TXT, SPF_NESTED, AUTODISCOVER, AUTODISCOVER_SRV, NS),
        *(ENTERPRISE_REGISTRATION, LYNCDISCOVER),
    )
    return lookup in named or selector_of(lookup) is not None


def keep_facts(previous: MailSignals | None, scanned: MailSignals) -> MailSignals:
    """Return what is known after `scanned`: new facts replace old ones, old ones stay where a look-up brought no fact.

    The old fact keeps its `answered_at`, and the new outcome is in `missed`. A provider stays known as long as an
    answer that names it stays: for the same MX, and no longer than LONGEST_KEPT_DAYS. A tenant is never erased: a DKIM
    target has priority over OpenID metadata, then the newer over the older.
    """
    if previous is None:
        return scanned
    lookups = _merge_lookups(previous, scanned)
    return conclude(scanned.domain, lookups, scanned.scanned_at, tenant=_choose_tenant(previous, scanned))


def _choose_tenant(previous: MailSignals, scanned: MailSignals) -> tuple[str, TenantSource] | None:
    for signals in (
        *(s for s in (scanned, previous) if s.tenant_source is TenantSource.DKIM_TARGET),
        *(s for s in (scanned, previous) if s.tenant_source is not None),
    ):
        if signals.tenant and signals.tenant_source:
            return signals.tenant, signals.tenant_source
    return None


def _merge_lookups(previous: MailSignals, scanned: MailSignals) -> dict[str, Lookup]:
    old, new = previous.lookups, scanned.lookups
    merged = dict(new)
    for name, lookup in new.items():
        if lookup.missed is None:
            continue
        before = old.get(name)
        since = _missed_since(before, previous, lookup, scanned)
        keeps = before is not None and before.is_fact and _still_applies(name, old, new)
        if keeps and before is not None and not _is_too_old(name, since, scanned.scanned_at):
            doubts = (before.doubt, _doubt_about(name, old, new))
            doubt = next((one for one in (Doubt.OTHER_MX, Doubt.OTHERS_CHANGED) if one in doubts), None)
            lookup = replace(before, missed=lookup.outcome, doubt=doubt)
        merged[name] = replace(lookup, missed_since=since)
    # When a parent keeps its old answer, the look-ups that depend on it keep theirs, and no others are open.
    for name, parents in _PARENTS.items():
        parent_missed = any(parent in new and not new[parent].is_fact for parent in parents)
        if name in old and name not in new and parent_missed and _still_applies(name, old, new):
            merged[name] = old[name]
        parent_kept = any(parent in merged and merged[parent].is_fact and merged[parent].missed for parent in parents)
        if name not in old and name in new and not new[name].is_fact and parent_kept:
            del merged[name]
    if TENANT in old and TENANT not in new:
        merged[TENANT] = old[TENANT]
    return merged


def _doubt_about(name: str, old: Mapping[str, Lookup], new: Mapping[str, Lookup]) -> Doubt | None:
    """Return why an old answer that stays may not be true any more, or None.

    What names the mailbox belongs together: where some of it has changed while the rest did not answer, the rest has
    probably changed too.
    """
    if not _can_name_provider(name):
        return None
    changed = {other for other in old.keys() & new.keys() if _has_changed(other, old[other], new[other])}
    if MX in changed:
        return Doubt.OTHER_MX
    return Doubt.OTHERS_CHANGED if changed else None


def _has_changed(name: str, before: Lookup, now: Lookup) -> bool:
    """Say whether two facts of one look-up can name different mailboxes."""
    if not (_can_name_provider(name) and before.is_fact and now.is_fact):
        return False
    if name == TXT:
        return parse_spf(before.records) != parse_spf(now.records)
    return (sorted(before.records), before.targets) != (sorted(now.records), now.targets)


def _missed_since(before: Lookup | None, previous: MailSignals, lookup: Lookup, scanned: MailSignals) -> datetime:
    if before is not None and before.missed is not None:
        return before.missed_since or previous.scanned_at
    return lookup.missed_since or scanned.scanned_at


def _is_too_old(name: str, missed_since: datetime, now: datetime) -> bool:
    """Say whether an old answer has gone unconfirmed for too long. What a score needs (NEEDED) stays for ever."""
    return name not in NEEDED and now - missed_since > timedelta(days=LONGEST_KEPT_DAYS)


def _still_applies(name: str, old: Mapping[str, Lookup], new: Mapping[str, Lookup]) -> bool:
    """Say whether an old answer fits the present ones: what can name the mailbox was said of the MX of that time."""
    if name in (MX, TXT, DMARC):
        return True
    if (
        name in (SPF_NESTED, SPF_ERROR)
        and new[TXT].is_fact
        and parse_spf(old[TXT].records) != parse_spf(new[TXT].records)
    ):
        return False
    if name in (DMARC_ABOVE, SPF_ERROR):
        return True
    return not new[MX].is_fact or sorted(old[MX].records) == sorted(new[MX].records)


def next_scan_after(signals: MailSignals, failures: int, ttl_hours: int) -> int:
    """Return the seconds from `signals.scanned_at` until the domain is scanned again.

    That is `ttl_hours` (HUNTER_SIGNALS_TTL_HOURS) unless a retry is due. Then it is FIRST_RETRY_SECONDS, doubled for
    each further failure, at most LONGEST_RETRY_SECONDS and at most the TTL. `failures` is the number of scans in a row
    with a retry due, this one included. `signals` is a scan or the result of `keep_facts`.
    """
    ttl = ttl_hours * 3600
    if not retry_is_due(signals):
        return ttl
    doublings = min(max(failures - 1, 0), 16)
    return min(FIRST_RETRY_SECONDS << doublings, LONGEST_RETRY_SECONDS, ttl)


def retry_is_due(signals: MailSignals) -> bool:
    """Say whether the last scan failed: it missed an answer that could change the score."""
    missed = signals.missed
    if signals.undecided or any(name in missed for name in (*NEEDED, DMARC_ABOVE)):
        return True
    if signals.dkim_present is None and any(selector_of(name) is not None for name in missed):
        return True
    return (
        signals.provider in _UNNAMED_PROVIDERS
        and not signals.no_mx
        and any(_can_name_provider(name) for name in missed)
    )
