"""Classifies a domain by its look-ups: provider, gateway, confidence and tenant. Pure.

Not here: reading one record (`mx`, `spf`, `dmarc`, `dkim`).

The notes of `conclude`:

    mx_tie                   hosts of different owners share the deciding preference
    mx_mixed_providers       a host of another preference has a different owner
    mailbox_hint             behind an unknown MX there is a hint at a mailbox provider, but too little to name it
    mailbox_conflict         hints at different mail services have equal weight: none is named
    spf_multiple_records     more than one SPF record: scored as none
    dmarc_multiple_records   more than one DMARC record: read as none
    dmarc_policy_missing, dmarc_policy_invalid     the record has no usable `p`: read as `p=none`
    dkim_revoked             all keys of a selector are revoked
    ms_txt                   a `MS=` TXT record; it stays after a trial of Microsoft 365 ends, so it is no hint
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from partner_center_pipeline.mail import dkim
from partner_center_pipeline.mail.dmarc import Dmarc, choose, is_dmarc, parse_dmarc, select_dmarc
from partner_center_pipeline.mail.mx import MxReading, classify_provider, host_key, read_mx, sort_mx
from partner_center_pipeline.mail.providers import Kind, Owner, Place, owner_of
from partner_center_pipeline.mail.signals import (
    AUTODISCOVER,
    DMARC,
    DMARC_ABOVE,
    ENTERPRISE_REGISTRATION,
    LYNCDISCOVER,
    MX,
    MX_HOSTS,
    NS,
    SPF_NESTED,
    TXT,
    Evidence,
    Lookup,
    MailSignals,
    Outcome,
    selector_of,
)
from partner_center_pipeline.mail.spf import Spf, parse_spf
from partner_center_pipeline.vocabulary import Provider, TenantSource

MX_CONFIDENCE: Final = 95
"""The deciding MX is the provider's own host."""

MX_CNAME_CONFIDENCE: Final = 85
"""The deciding MX host is a CNAME for the provider's host."""

TIE_CONFIDENCE: Final = 70
"""A host of another owner has the same preference as the deciding MX."""

LOCAL_CONFIDENCE: Final = 60
"""The MX host has no owner in the table, and there is no hint: self-hosted, or a hoster that the table lacks."""

LOCAL_HINT_CONFIDENCE: Final = 40
"""The MX host has no owner in the table, and hints at mailbox providers are too few or contradict each other."""

HINT_WEIGHTS: Final[Mapping[str, int]] = {"dkim": 70, "spf": 50, "autodiscover": 50, "ns": 20}
"""The confidence from one hint alone, in percent. Hints of different kinds count as independent: together they give
the probability that not all of them are wrong (75 for SPF and autodiscover)."""

HINTS_NEEDED: Final = 2
"""Independent hints needed to name the provider behind an unknown MX (mail_signals.md, "Behind a gateway")."""

# Every repetition is bounded: else a TXT record of 64 KB that almost matches would block all scans for seconds.
_VERIFICATION: Final = re.compile(
    r"MS=|amazonses:|(?=[\w.-]{0,80}(?:verif|validation))[\w.-]{1,120}\s{0,4}[=:]", re.IGNORECASE
)
_MS_TXT: Final = re.compile(r"MS=ms\d+", re.IGNORECASE)
_MICROSOFT: Final = ("enterpriseregistration.windows.net", "webdir.online.lync.com")

_ABSENT: Final = Lookup(Outcome.TIMEOUT)
"""Used for a look-up that was not made."""


@dataclass(frozen=True, slots=True)
class _Hint:
    owner: Owner
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class _Mailbox:
    provider: Provider
    name: str | None
    confidence: int
    notes: tuple[str, ...] = ()


def needs_hints(reading: MxReading) -> bool:
    """Say whether the MX names no mailbox provider: it is a gateway, or a host without an owner in the table."""
    return (
        reading.host is not None
        and reading.no_mail is None
        and (reading.owner is None or reading.owner.kind is Kind.GATEWAY)
    )


def parse_mx(records: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """Return the (preference, host) pairs of an MX look-up's records, in the order of trying."""
    pairs = (record.partition(" ") for record in records)
    return sort_mx((int(preference), host) for preference, _, host in pairs)


def mx_targets(lookups: Mapping[str, Lookup]) -> dict[str, tuple[str, ...]]:
    """Return the CNAME targets of MX hosts, by host."""
    hosts = (record.split() for record in lookups.get(MX_HOSTS, _ABSENT).records)
    return {host: tuple(targets) for host, *targets in hosts}


def conclude(
    domain: str,
    lookups: Mapping[str, Lookup],
    scanned_at: datetime,
    *,
    tenant: tuple[str, TenantSource] | None = None,
) -> MailSignals:
    """Return the signals of a domain. A tenant that a DKIM target names has priority over `tenant` (tenant, source)."""
    mx_lookup = lookups.get(MX, _ABSENT)
    mx = parse_mx(mx_lookup.records)
    texts = lookups.get(TXT, _ABSENT).records
    spf = parse_spf(texts)
    dmarc, dmarc_notes = _read_dmarc(domain, lookups)
    keys, targets, revoked = _read_dkim(lookups)
    autodiscover = next(iter(lookups.get(AUTODISCOVER, _ABSENT).records), None)
    ns = lookups.get(NS, _ABSENT).records

    hints, other_evidence = _find_hints(spf, lookups, targets, autodiscover, ns)
    hint_kinds = _kinds_by_owner(hints)
    weights = {owner: _confidence(kinds - {Place.NS.value}) for owner, kinds in hint_kinds.items()}
    reading = read_mx(mx, mx_targets(lookups), weights)
    mailbox = _classify_mailbox(reading, hint_kinds)
    tenant_name = next((name for _, target in targets if (name := dkim.tenant_of(target))), None)
    if tenant_name:
        tenant = (tenant_name, TenantSource.DKIM_TARGET)

    notes = [*mailbox.notes]
    notes += ["mx_tie"] * reading.tie + ["mx_mixed_providers"] * reading.mixed
    notes += ["spf_multiple_records"] * spf.multiple
    notes += dmarc_notes
    notes += ["dkim_revoked"] * revoked
    notes += ["ms_txt"] * any(_MS_TXT.match(text) for text in texts)
    return MailSignals(
        domain=domain,
        scanned_at=scanned_at,
        provider=mailbox.provider,
        provider_name=mailbox.name,
        gateway=reading.gateway,
        confidence=mailbox.confidence,
        evidence=(*_mx_evidence(reading), *(hint.evidence for hint in hints), *other_evidence),
        notes=tuple(notes),
        mx=mx,
        mx_outcome=mx_lookup.outcome,
        no_mx_reason=_no_mx_reason(mx_lookup, reading),
        spf=spf,
        dmarc=dmarc,
        dkim_present=_dkim_present(lookups, keys),
        dkim_selectors=keys,
        dkim_targets=targets,
        tenant=tenant[0] if tenant else None,
        tenant_source=tenant[1] if tenant else None,
        autodiscover=autodiscover,
        ns=ns,
        verifications=tuple(text for text in texts if _VERIFICATION.match(text)),
        lookups=lookups,
    )


def _no_mx_reason(lookup: Lookup, reading: MxReading) -> str | None:
    if not lookup.is_fact:
        return None
    return lookup.outcome.value if lookup.outcome is not Outcome.FOUND else reading.no_mail


def _read_dmarc(domain: str, lookups: Mapping[str, Lookup]) -> tuple[Dmarc | None, list[str]]:
    own = lookups.get(DMARC, _ABSENT).records
    record = select_dmarc(own, domain)
    notes = ["dmarc_multiple_records"] if record is None and sum(map(is_dmarc, own)) > 1 else []
    if record is None:
        above = (text.partition(" ") for text in lookups.get(DMARC_ABOVE, _ABSENT).records)
        record = choose(parsed for name, _, text in above if (parsed := parse_dmarc(text, name)))
    if record is not None and record.policy_note:
        notes.append(record.policy_note)
    return record, notes


def _read_dkim(lookups: Mapping[str, Lookup]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], bool]:
    selectors = [(s, lookup) for name, lookup in lookups.items() if (s := selector_of(name)) is not None]
    keys = tuple(selector for selector, lookup in selectors if dkim.has_key(lookup.records))
    targets = tuple((selector, _known_target(lookup.targets)) for selector, lookup in selectors if lookup.targets)
    return keys, targets, any(dkim.is_revoked(lookup.records) for _, lookup in selectors)


def _known_target(targets: tuple[str, ...]) -> str:
    """Return the first CNAME target with an owner in the table (after it come the owner's own hosts), or the last."""
    return next((target for target in targets if owner_of(target, Place.DKIM)), targets[-1])


def _dkim_present(lookups: Mapping[str, Lookup], keys: tuple[str, ...]) -> bool | None:
    if keys:
        return True
    answered = [lookup.is_fact for name, lookup in lookups.items() if selector_of(name) is not None]
    return False if answered and all(answered) else None


def _mx_evidence(reading: MxReading) -> tuple[Evidence, ...]:
    if reading.host is None or reading.name is None or reading.no_mail is not None:
        return ()
    kind = "mx" if reading.name == reading.host else "mx_cname"
    if reading.owner is None:
        return (Evidence("mx", reading.host, Provider.LOCAL.value),)
    if reading.owner.kind is Kind.GATEWAY:
        return (Evidence("gateway", reading.name, reading.owner.name),)
    return (Evidence(kind, reading.name, _points_to(reading.owner)),)


def _points_to(owner: Owner) -> str:
    return owner.name if owner.provider is Provider.UNKNOWN else owner.provider.value


def _find_hints(
    spf: Spf,
    lookups: Mapping[str, Lookup],
    dkim_targets: tuple[tuple[str, str], ...],
    autodiscover: str | None,
    ns: tuple[str, ...],
) -> tuple[list[_Hint], list[Evidence]]:
    """Return the hints at the mailbox, strongest kind first, and the other evidence of known owners."""
    candidates = [
        *((Place.DKIM, target, f"{selector} {target}") for selector, target in dkim_targets),
        *((Place.SPF, host, host) for host in (*spf.targets, *lookups.get(SPF_NESTED, _ABSENT).records)),
        *([(Place.AUTODISCOVER, autodiscover, autodiscover)] if autodiscover else []),
        *((Place.NS, host, host) for host in ns),
    ]
    hints: dict[_Hint, None] = {}
    other_evidence: dict[Evidence, None] = {}
    for place, host, detail in candidates:
        owner = owner_of(host, place)
        if owner is None or (place is Place.NS and owner.provider is not Provider.HOSTING):
            continue
        if owner.kind is Kind.MAILBOX:
            hints[_Hint(owner, Evidence(place.value, detail, _points_to(owner)))] = None
        elif owner.kind is not Kind.PARKING:
            other_evidence[Evidence(owner.kind.value, detail, _points_to(owner))] = None
    for name in (ENTERPRISE_REGISTRATION, LYNCDISCOVER):
        for target in lookups.get(name, _ABSENT).records:
            if host_key(target) in _MICROSOFT:
                other_evidence[Evidence("microsoft", target, Provider.M365.value)] = None
    return list(hints), list(other_evidence)


def _kinds_by_owner(hints: list[_Hint]) -> dict[Owner, set[str]]:
    """Return the kinds of hints at each owner: two of one kind count once."""
    kinds: dict[Owner, set[str]] = {}
    for hint in hints:
        kinds.setdefault(hint.owner, set()).add(hint.evidence.kind)
    return kinds


def _classify_mailbox(reading: MxReading, hint_kinds: Mapping[Owner, set[str]]) -> _Mailbox:
    if not needs_hints(reading):
        if reading.owner is None:
            return _Mailbox(Provider.UNKNOWN, None, 0)
        confidence = MX_CONFIDENCE if reading.name == reading.host else MX_CNAME_CONFIDENCE
        confidence = min(confidence, TIE_CONFIDENCE) if reading.tie else confidence
        return _Mailbox(classify_provider(reading), reading.owner.name, confidence)

    behind_gateway = reading.owner is not None
    named = {owner: _confidence(kinds) for owner, kinds in hint_kinds.items() if _are_enough(kinds, behind_gateway)}
    highest = max(named.values(), default=0)
    best = [owner for owner, confidence in named.items() if confidence == highest]
    # A hoster often has only the web site, which also sends mail (from its forms).
    best = [owner for owner in best if owner.provider is not Provider.HOSTING] or best
    if len(best) == 1:
        return _Mailbox(best[0].provider, best[0].name, highest)
    notes = ("mailbox_conflict",) if best else ()
    if behind_gateway:
        return _Mailbox(Provider.UNKNOWN, None, 0, notes)
    if hint_kinds:
        return _Mailbox(Provider.LOCAL, None, LOCAL_HINT_CONFIDENCE, notes or ("mailbox_hint",))
    return _Mailbox(Provider.LOCAL, None, LOCAL_CONFIDENCE)


def _are_enough(kinds: set[str], behind_gateway: bool) -> bool:
    """Say whether hints of these kinds name the mailbox. Behind a known gateway one is enough, except NS alone."""
    return bool(kinds - {Place.NS.value}) if behind_gateway else len(kinds) >= HINTS_NEEDED


def _confidence(kinds: set[str]) -> int:
    all_wrong = 1.0
    for kind in kinds:
        all_wrong *= 1 - HINT_WEIGHTS[kind] / 100
    return round((1 - all_wrong) * 100)
