"""Weighing what the DNS said: provider, gateway, confidence and tenant from the look-ups of one domain.

Everything in MailSignals follows from the look-ups by `conclude`, which is pure: the same answers give the
same signals. What does not belong here: reading one record (`mx`, `spf`, `dmarc`, `dkim`).

Notes that `conclude` gives:

    mx_tie                   hosts of different owners share the deciding preference
    mx_mixed_providers       another preference names a different owner
    mailbox_hint             one hint at a mailbox provider behind an unknown MX: not enough to name it
    mailbox_conflict         hints at different mail services weigh the same: none is named
    spf_multiple_records     more than one SPF record: scored as none
    dmarc_multiple_records   more than one DMARC record: counts as none
    dmarc_policy_missing, dmarc_policy_invalid     the record has no usable `p`: read as none
    dkim_revoked             a selector's only keys are revoked
    ms_txt                   a `MS=` TXT record; it outlives the trial that made it, so it is no hint
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from partner_center_pipeline.mail import dkim
from partner_center_pipeline.mail.dmarc import Dmarc, choose, is_dmarc, parse_dmarc, select_dmarc
from partner_center_pipeline.mail.mx import MxReading, host_key, read_mx, sort_mx
from partner_center_pipeline.mail.providers import Kind, Owner, Place, Provider, owner_of
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

MX_CONFIDENCE: Final = 95
"""The deciding MX is the provider's own host."""

MX_CNAME_CONFIDENCE: Final = 85
"""The deciding MX host is a CNAME of the provider's."""

TIE_CONFIDENCE: Final = 70
"""The deciding preference is shared with a host of another owner."""

LOCAL_CONFIDENCE: Final = 60
"""An MX host that nobody in the table owns, and no hint at anybody: self-hosted, or a hoster not in the table."""

LOCAL_HINT_CONFIDENCE: Final = 40
"""The same with one hint at a mailbox provider."""

HINT_WEIGHTS: Final[Mapping[str, int]] = {"dkim": 70, "spf": 50, "autodiscover": 50, "ns": 20}
"""How sure one hint alone makes us, in percent. Hints of different kinds are independent:
together they are as sure as not all of them being wrong (75 for SPF and autodiscover)."""

HINTS_NEEDED: Final = 2
"""Independent hints that name the mailbox provider behind an unknown MX (mail_signals.md, "Behind a gateway")."""

# Every repetition is bounded: a TXT record of 64 KB that almost matches would else hold up all scans for seconds.
_VERIFICATION: Final = re.compile(
    r"MS=|amazonses:|(?=[\w.-]{0,80}(?:verif|validation))[\w.-]{1,120}\s{0,4}[=:]", re.IGNORECASE
)
_MS_TXT: Final = re.compile(r"MS=ms\d+", re.IGNORECASE)
_MICROSOFT: Final = ("enterpriseregistration.windows.net", "webdir.online.lync.com")

_ABSENT: Final = Lookup(Outcome.TIMEOUT)


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
    """Whether the MX leaves it open who keeps the mailboxes: a gateway, or a host that nobody in the table owns."""
    return (
        reading.host is not None
        and reading.no_mail is None
        and (reading.owner is None or reading.owner.kind is Kind.GATEWAY)
    )


def parse_mx(records: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """The (preference, host) pairs of an MX look-up's records, in the order of trying."""
    pairs = (record.partition(" ") for record in records)
    return sort_mx((int(preference), host) for preference, _, host in pairs)


def mx_targets(lookups: Mapping[str, Lookup]) -> dict[str, tuple[str, ...]]:
    """The CNAME targets that MX hosts lead to, by host."""
    hosts = (record.split() for record in lookups.get(MX_HOSTS, _ABSENT).records)
    return {host: tuple(targets) for host, *targets in hosts}


def conclude(
    domain: str,
    lookups: Mapping[str, Lookup],
    scanned_at: datetime,
    *,
    tenant: tuple[str, str] | None = None,
) -> MailSignals:
    """What the look-ups of one domain say. `tenant` is (id, source) from elsewhere; a DKIM target goes before it."""
    mx_lookup = lookups.get(MX, _ABSENT)
    mx = parse_mx(mx_lookup.records)
    spf = parse_spf(lookups.get(TXT, _ABSENT).records)
    dmarc, dmarc_notes = _dmarc(domain, lookups)
    keys, targets, revoked = _dkim(lookups)
    autodiscover = next(iter(lookups.get(AUTODISCOVER, _ABSENT).records), None)
    ns = lookups.get(NS, _ABSENT).records
    texts = lookups.get(TXT, _ABSENT).records

    hints, others = _hints(spf, lookups, targets, autodiscover, ns)
    kinds = _kinds(hints)
    weights = {owner: _combined(seen - {Place.NS.value}) for owner, seen in kinds.items()}
    reading = read_mx(mx, mx_targets(lookups), weights)
    mailbox = _mailbox(reading, kinds)
    named = next((name for _, target in targets if (name := dkim.tenant_of(target))), None)
    found_tenant = (named, "dkim_target") if named else tenant

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
        evidence=(*_mx_evidence(reading), *(hint.evidence for hint in hints), *others),
        notes=tuple(notes),
        mx=mx,
        mx_outcome=mx_lookup.outcome,
        no_mx_reason=_no_mx_reason(mx_lookup, reading),
        spf=spf,
        dmarc=dmarc,
        dkim_present=_dkim_present(lookups, keys),
        dkim_selectors=keys,
        dkim_targets=targets,
        tenant=found_tenant[0] if found_tenant else None,
        tenant_source=found_tenant[1] if found_tenant else None,
        autodiscover=autodiscover,
        ns=ns,
        verifications=tuple(text for text in texts if _VERIFICATION.match(text)),
        lookups=lookups,
    )


def _no_mx_reason(lookup: Lookup, reading: MxReading) -> str | None:
    if not lookup.is_fact:
        return None
    return lookup.outcome.value if lookup.outcome is not Outcome.FOUND else reading.no_mail


def _dmarc(domain: str, lookups: Mapping[str, Lookup]) -> tuple[Dmarc | None, list[str]]:
    own = lookups.get(DMARC, _ABSENT).records
    record = select_dmarc(own, domain)
    notes = ["dmarc_multiple_records"] if record is None and sum(map(is_dmarc, own)) > 1 else []
    if record is None:
        above = (text.partition(" ") for text in lookups.get(DMARC_ABOVE, _ABSENT).records)
        record = choose(found for name, _, text in above if (found := parse_dmarc(text, name)))
    if record is not None and record.policy_note:
        notes.append(record.policy_note)
    return record, notes


def _dkim(lookups: Mapping[str, Lookup]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], bool]:
    selectors = [(s, lookup) for name, lookup in lookups.items() if (s := selector_of(name)) is not None]
    keys = tuple(selector for selector, lookup in selectors if dkim.has_key(lookup.records))
    targets = tuple((selector, _known_target(lookup.targets)) for selector, lookup in selectors if lookup.targets)
    return keys, targets, any(dkim.is_revoked(lookup.records) for _, lookup in selectors)


def _known_target(targets: tuple[str, ...]) -> str:
    """The first CNAME target whose owner the table knows (owners may lead on to hosts of their own), or the last."""
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
        return (Evidence("mx", reading.host, Provider.Local.value),)
    if reading.owner.kind is Kind.GATEWAY:
        return (Evidence("gateway", reading.name, reading.owner.name),)
    return (Evidence(kind, reading.name, _points_to(reading.owner)),)


def _points_to(owner: Owner) -> str:
    return owner.name if owner.provider is Provider.Unknown else owner.provider.value


def _hints(
    spf: Spf,
    lookups: Mapping[str, Lookup],
    dkim_targets: tuple[tuple[str, str], ...],
    autodiscover: str | None,
    ns: tuple[str, ...],
) -> tuple[list[_Hint], list[Evidence]]:
    """Hints at the mailbox, strongest kind first, and what else was seen of known owners."""
    seen = [
        *((Place.DKIM, target, f"{selector} {target}") for selector, target in dkim_targets),
        *((Place.SPF, host, host) for host in (*spf.targets, *lookups.get(SPF_NESTED, _ABSENT).records)),
        *([(Place.AUTODISCOVER, autodiscover, autodiscover)] if autodiscover else []),
        *((Place.NS, host, host) for host in ns),
    ]
    hints: dict[_Hint, None] = {}
    others: dict[Evidence, None] = {}
    for place, host, detail in seen:
        owner = owner_of(host, place)
        if owner is None or (place is Place.NS and owner.provider is not Provider.Hosting):
            continue
        if owner.kind is Kind.MAILBOX:
            hints[_Hint(owner, Evidence(place.value, detail, _points_to(owner)))] = None
        elif owner.kind is not Kind.PARKING:
            others[Evidence(owner.kind.value, detail, _points_to(owner))] = None
    for name in (ENTERPRISE_REGISTRATION, LYNCDISCOVER):
        for target in lookups.get(name, _ABSENT).records:
            if host_key(target) in _MICROSOFT:
                others[Evidence("microsoft", target, Provider.M365.value)] = None
    return list(hints), list(others)


def _kinds(hints: list[_Hint]) -> dict[Owner, set[str]]:
    """The kinds of hints at each owner: two of one kind are one."""
    kinds: dict[Owner, set[str]] = {}
    for hint in hints:
        kinds.setdefault(hint.owner, set()).add(hint.evidence.kind)
    return kinds


def _mailbox(reading: MxReading, kinds: Mapping[Owner, set[str]]) -> _Mailbox:
    if not needs_hints(reading):
        if reading.owner is None:
            return _Mailbox(Provider.Unknown, None, 0)
        sure = MX_CONFIDENCE if reading.name == reading.host else MX_CNAME_CONFIDENCE
        sure = min(sure, TIE_CONFIDENCE) if reading.tie else sure
        return _Mailbox(reading.provider, reading.owner.name, sure)

    behind_gateway = reading.owner is not None
    named = {owner: _combined(seen) for owner, seen in kinds.items() if _suffices(seen, behind_gateway=behind_gateway)}
    most = max(named.values(), default=0)
    surest = [owner for owner, sure in named.items() if sure == most]
    # A hoster is often only where the web site is, whose forms send mail too.
    surest = [owner for owner in surest if owner.provider is not Provider.Hosting] or surest
    if len(surest) == 1:
        return _Mailbox(surest[0].provider, surest[0].name, most)
    notes = ("mailbox_conflict",) if surest else ()
    if behind_gateway:
        return _Mailbox(Provider.Unknown, None, 0, notes)
    if kinds:
        return _Mailbox(Provider.Local, None, LOCAL_HINT_CONFIDENCE, notes or ("mailbox_hint",))
    return _Mailbox(Provider.Local, None, LOCAL_CONFIDENCE)


def _suffices(kinds: set[str], *, behind_gateway: bool) -> bool:
    """A known gateway has a mailbox somewhere behind it, so one hint names it; the name servers alone are too weak."""
    return bool(kinds - {Place.NS.value}) if behind_gateway else len(kinds) >= HINTS_NEEDED


def _combined(kinds: set[str]) -> int:
    wrong = 1.0
    for kind in kinds:
        wrong *= 1 - HINT_WEIGHTS[kind] / 100
    return round((1 - wrong) * 100)
