"""Which facts are kept after a scan, and when to scan again (mail_signals.md, "Outcomes are facts or not facts").

Not here: what one set of answers means (`classification`), the clock (the caller).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from partner_center_pipeline.mail.classification import conclude
from partner_center_pipeline.mail.providers import provider_table
from partner_center_pipeline.mail.signals import (
    AUTODISCOVER,
    AUTODISCOVER_SRV,
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
    dkim_lookup,
    selector_of,
)
from partner_center_pipeline.mail.spf import parse_spf
from partner_center_pipeline.vocabulary import Provider, TenantSource

FIRST_RETRY_SECONDS: Final = 600
"""The wait after the first scan that missed an answer."""

LONGEST_RETRY_SECONDS: Final = 86_400
"""The longest wait: doubling ends at a day."""

PROVIDER_KEPT: Final = "provider_kept"
"""A note: the provider is from an older scan."""

_PARENTS: Final[Mapping[str, tuple[str, ...]]] = {
    MX_HOSTS: (MX,),
    AUTODISCOVER_SRV: (MX,),
    **{dkim_lookup(selector): (MX,) for selector in provider_table().selectors},
    SPF_NESTED: (MX, TXT),
    DMARC_ABOVE: (DMARC,),
}
"""Look-ups that are made only when the answers of these others call for it."""

_UNNAMED_PROVIDERS: Final = (Provider.LOCAL, Provider.UNKNOWN)


def _can_name_provider(lookup: str) -> bool:
    return (
        lookup in (MX, MX_HOSTS, TXT, SPF_NESTED, AUTODISCOVER, AUTODISCOVER_SRV, NS) or selector_of(lookup) is not None
    )


def keep_facts(previous: MailSignals | None, scanned: MailSignals) -> MailSignals:
    """Return what is known after `scanned`: new facts replace old ones, old ones stay where a look-up brought no fact.

    The old fact keeps its `answered_at`, and the new outcome is in `missed`. Local or Unknown does not replace a known
    provider while an answer is missing that could name it (note `provider_kept`). A tenant is never erased: a DKIM
    target has priority over OpenID metadata, then the newer over the older.
    """
    if previous is None:
        return scanned
    lookups = _merge_lookups(previous.lookups, scanned.lookups)
    tenant = _choose_tenant(previous, scanned)
    kept = conclude(scanned.domain, lookups, scanned.scanned_at, tenant=tenant)
    if (
        previous.provider not in _UNNAMED_PROVIDERS
        and kept.provider in _UNNAMED_PROVIDERS
        and not (kept.no_mx and MX not in scanned.missed)
        and any(_can_name_provider(name) for name in scanned.missed)
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


def _choose_tenant(previous: MailSignals, scanned: MailSignals) -> tuple[str, TenantSource] | None:
    for signals in (
        *(s for s in (scanned, previous) if s.tenant_source is TenantSource.DKIM_TARGET),
        *(s for s in (scanned, previous) if s.tenant_source is not None),
    ):
        if signals.tenant and signals.tenant_source:
            return signals.tenant, signals.tenant_source
    return None


def _merge_lookups(old: Mapping[str, Lookup], new: Mapping[str, Lookup]) -> dict[str, Lookup]:
    merged = dict(new)
    for name, lookup in new.items():
        before = old.get(name)
        if not lookup.is_fact and before is not None and before.is_fact and _still_applies(name, old, new):
            merged[name] = replace(before, missed=lookup.outcome)
    # When a parent keeps its old answer, the look-ups that depend on it keep theirs.
    for name, parents in _PARENTS.items():
        parent_missed = any(parent in new and not new[parent].is_fact for parent in parents)
        if name in old and name not in new and parent_missed and _still_applies(name, old, new):
            merged[name] = old[name]
    if TENANT in old and TENANT not in new:
        merged[TENANT] = old[TENANT]
    return merged


def _still_applies(name: str, old: Mapping[str, Lookup], new: Mapping[str, Lookup]) -> bool:
    """Say whether the old answer of a dependent look-up fits the parent's present answer."""
    if name == MX_HOSTS:
        return not new[MX].is_fact or old[MX].records == new[MX].records
    if name == SPF_NESTED:
        return not new[TXT].is_fact or parse_spf(old[TXT].records) == parse_spf(new[TXT].records)
    return True


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
    if any(name in missed for name in (*NEEDED, DMARC_ABOVE)):
        return True
    if signals.dkim_present is None and any(selector_of(name) is not None for name in missed):
        return True
    unnamed = signals.provider in _UNNAMED_PROVIDERS or PROVIDER_KEPT in signals.notes
    return unnamed and not signals.no_mx and any(_can_name_provider(name) for name in missed)
