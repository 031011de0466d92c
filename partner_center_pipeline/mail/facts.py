"""What stays after a scan, and when to scan again (mail_signals.md, "Outcomes are facts or not facts").

Here belong the rules over time. What does not: what one set of answers means (`judge`), and the clock.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from partner_center_pipeline.mail.judge import conclude
from partner_center_pipeline.mail.providers import Provider
from partner_center_pipeline.mail.signals import (
    AUTODISCOVER,
    DMARC,
    DMARC_ABOVE,
    MX,
    MX_HOSTS,
    NEEDED,
    NS,
    SPF_NESTED,
    TENANT,
    TXT,
    Lookup,
    MailSignals,
    selector_of,
)
from partner_center_pipeline.mail.spf import parse_spf

FIRST_RETRY_SECONDS: Final = 600
"""The first try again comes ten minutes after a scan that brought no fact."""

LONGEST_RETRY_SECONDS: Final = 86_400
"""Doubling stops at a day."""

PROVIDER_KEPT: Final = "provider_kept"
"""The note of signals whose provider is an older scan's."""

_PARENTS: Final[Mapping[str, tuple[str, ...]]] = {
    MX_HOSTS: (MX,),
    SPF_NESTED: (MX, TXT),
    DMARC_ABOVE: (DMARC,),
}
_NAMES_NOBODY: Final = (Provider.Local, Provider.Unknown)


def _names_provider(lookup: str) -> bool:
    """Whether a look-up can name the mailbox provider."""
    return lookup in (MX, MX_HOSTS, TXT, SPF_NESTED, AUTODISCOVER, NS) or selector_of(lookup) is not None


def keep_facts(previous: MailSignals | None, scanned: MailSignals) -> MailSignals:
    """What is known after `scanned`: new facts replace old ones, and where a look-up brought none the old
    stays.

    The old fact keeps its `answered_at`, and the new outcome is in `missed`. Besides, a known provider is not
    replaced by Local or Unknown as long as a look-up that could name it is missing an answer (note
    `provider_kept`), and a tenant is never erased: a DKIM target goes before OIDC metadata, the newer before
    the older.
    """
    if previous is None:
        return scanned
    lookups = _merge(previous.lookups, scanned.lookups)
    tenant = _tenant(previous, scanned)
    kept = conclude(scanned.domain, lookups, scanned.scanned_at, tenant=tenant)
    if (
        previous.provider not in _NAMES_NOBODY
        and kept.provider in _NAMES_NOBODY
        and not (kept.no_mx and MX not in scanned.missed)
        and any(_names_provider(name) for name in scanned.missed)
    ):
        kept = replace(
            kept,
            provider=previous.provider,
            provider_name=previous.provider_name,
            gateway=previous.gateway,
            confidence=previous.confidence,
            evidence=previous.evidence,
            notes=tuple(dict.fromkeys((*kept.notes, PROVIDER_KEPT))),
        )
    return kept


def _tenant(previous: MailSignals, scanned: MailSignals) -> tuple[str, str] | None:
    for signals in (
        *(s for s in (scanned, previous) if s.tenant_source == "dkim_target"),
        *(s for s in (scanned, previous) if s.tenant_source is not None),
    ):
        if signals.tenant and signals.tenant_source:
            return signals.tenant, signals.tenant_source
    return None


def _merge(old: Mapping[str, Lookup], new: Mapping[str, Lookup]) -> dict[str, Lookup]:
    merged = dict(new)
    for name, lookup in new.items():
        before = old.get(name)
        if not lookup.is_fact and before is not None and before.is_fact and _still_applies(name, old, new):
            merged[name] = replace(before, missed=lookup.outcome)
    # These are asked only when their parents' answers call for it; while a parent's stays the old one, so do they.
    for name, parents in _PARENTS.items():
        parent_missed = any(parent in new and not new[parent].is_fact for parent in parents)
        if name in old and name not in new and parent_missed and _still_applies(name, old, new):
            merged[name] = old[name]
    if TENANT in old and TENANT not in new:
        merged[TENANT] = old[TENANT]
    return merged


def _still_applies(name: str, old: Mapping[str, Lookup], new: Mapping[str, Lookup]) -> bool:
    """Whether an old answer of a dependent look-up belongs to the parent's answer of today."""
    if name == MX_HOSTS:
        return not new[MX].is_fact or old[MX].records == new[MX].records
    if name == SPF_NESTED:
        return not new[TXT].is_fact or parse_spf(old[TXT].records) == parse_spf(new[TXT].records)
    return True


def next_scan_after(signals: MailSignals, failures: int, ttl_hours: int) -> int:
    """Seconds from `signals.scanned_at` until the domain is scanned again.

    `ttl_hours` (HUNTER_SIGNALS_TTL_HOURS) after a scan that brought the facts a score needs. Otherwise, when
    an answer that could change the score is missing, a backoff: `failures` is how many scans in a row ended
    so, this one included, and the wait is ten minutes doubling with each, at most a day and never more than
    the TTL. `signals` may be a scan or what `keep_facts` made of it.
    """
    ttl = ttl_hours * 3600
    if not retry_is_due(signals):
        return ttl
    doublings = min(max(failures - 1, 0), 16)
    return min(FIRST_RETRY_SECONDS << doublings, LONGEST_RETRY_SECONDS, ttl)


def retry_is_due(signals: MailSignals) -> bool:
    """Whether the last scan missed an answer that could change the score; then it is a failure in a row."""
    missed = signals.missed
    if any(name in missed for name in (*NEEDED, DMARC_ABOVE)):
        return True
    if signals.dkim_present is None and any(selector_of(name) is not None for name in missed):
        return True
    unnamed = signals.provider in _NAMES_NOBODY or PROVIDER_KEPT in signals.notes
    return unnamed and not signals.no_mx and any(_names_provider(name) for name in missed)
