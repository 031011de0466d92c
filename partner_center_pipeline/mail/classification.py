"""Classifies a domain by its look-ups: provider, gateway, confidence and tenant. Pure.

Not here: reading one record (`mx`, `spf`, `dmarc`, `dkim`).

The notes of `conclude`:

    mx_tie                   hosts of different owners share the deciding preference
    mx_mixed_providers       a host of another preference has a different owner
    mailbox_hint             there are hints at a mailbox provider, but too few or too weak ones to name it
    mailbox_unanswered       answers that could name the mailbox have been missing for longer than is waited for them
    mailbox_elsewhere        the MX is a hoster's, and other records show the mailboxes at a mail service
    mailbox_conflict         hints at different mail services have equal weight: none is named
    spf_multiple_records     more than one SPF record: scored as none
    dmarc_multiple_records   more than one DMARC record: read as none
    dmarc_policy_missing, dmarc_policy_invalid     the record has no usable `p`: read as `p=none`
    dmarc_testing            the record says `t=y`: the policy is applied one step weaker
    implicit_mx              there is no MX record, and the domain has an address, which takes the mail
    answers_cut              more was published than is stored
    dkim_revoked             all keys of a selector are revoked
    ms_txt                   a `MS=` TXT record; it stays after a trial of Microsoft 365 ends, so it is no hint
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from partner_center_pipeline.mail import dkim
from partner_center_pipeline.mail.dmarc import Dmarc, choose, inherited, is_dmarc, parse_dmarc, select_dmarc
from partner_center_pipeline.mail.mx import MxReading, classify_provider, host_key, is_address, read_mx, sort_mx
from partner_center_pipeline.mail.providers import Kind, Owner, Place, owner_of, owner_of_network, provider_table
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
    NS,
    SPF_ERROR,
    SPF_NESTED,
    TENANT,
    TXT,
    Doubt,
    Evidence,
    LocalHost,
    Lookup,
    MailSignals,
    Outcome,
    dkim_lookup,
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

HINT_WEIGHTS: Final[Mapping[str, int]] = {
    "mx_other": 70, "dkim": 70, "autodiscover": 50, "spf": 50, "ptr": 40, "dkim_key": 30, "missing_dot": 30,
    "microsoft": 20, "tenant": 20, "ns": 20,
}  # fmt: skip
"""The confidence from one hint alone, in percent. Hints of different kinds count as independent: together they give
the probability that not all of them are wrong (75 for SPF and autodiscover)."""

HINTS_NEEDED: Final = 2
"""Independent hints needed to name the provider behind an unknown MX (mail_signals.md, "Behind a gateway")."""

ELSEWHERE_CONFIDENCE: Final = 70
"""The MX and the other records name different services."""

_STRONG: Final = frozenset({"mx_other", "dkim", "autodiscover", "ptr"})
"""Kinds of hints that only a customer of the provider has: it gives out the name, or must be told the domain first."""

_CONFIRMING: Final = frozenset({"dkim_key", "missing_dot", "microsoft", "tenant"})
"""Kinds that show a relation with the owner and no mailbox that works: behind a known gateway, they make an SPF include
at the same owner enough, which alone may be a leftover."""

_HINTS_BY_THEMSELVES: Final = frozenset({"mx_other", "dkim", "autodiscover", "spf", "ptr", "dkim_key", "ns"})

_ALL_OF_A_MAILBOX: Final = frozenset({"dkim", "autodiscover", "spf"})
"""Together they show that a company writes, signs and reads its mail at one service."""

WAIT_HOURS: Final = 72
"""For so long a company has no score while an answer that could name its mailbox is missing: about nine retries."""

TENANT_FACT_DAYS: Final = 30
"""For so long a public look-up confirms other hints (HUNTER_TENANT_DISCOVERY_ENABLED may be off by now)."""

# Every repetition is bounded: else a TXT record of 64 KB that almost matches would block all scans for seconds.
_VERIFICATION: Final = re.compile(
    r"MS=|amazonses:|(?=[\w.-]{0,80}(?:verif|validation))[\w.-]{1,120}\s{0,4}[=:]", re.IGNORECASE
)
_MS_TXT: Final = re.compile(r"MS=ms\d+", re.IGNORECASE)
_MICROSOFT_SELECTOR: Final = re.compile(r"dkim:selector[12]")
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
    by_hints: Owner | None = None
    """The owner that hints named, where it was not the MX."""


def needs_hints(reading: MxReading) -> bool:
    """Say whether the MX leaves the mailbox provider open.

    It is a gateway, a service that forwards or takes in mail for programs, or a host without an owner in the table.
    """
    return (
        reading.host is not None
        and reading.no_mail is None
        and (reading.owner is None or reading.owner.kind is not Kind.MAILBOX or reading.owner.forwards)
    )


def parse_mx(records: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """Return the (preference, host) pairs of an MX look-up's records, in the order of trying."""
    pairs = (record.partition(" ") for record in records)
    return sort_mx((int(preference), host) for preference, _, host in pairs)


def mx_pairs(domain: str, lookups: Mapping[str, Lookup]) -> tuple[tuple[int, str], ...]:
    """Return the (preference, host) pairs that senders try.

    Without an MX record that is the domain itself, if it has an address: the implicit MX (RFC 5321, section 5.1). Not
    so where its SPF record says that it sends no mail: it has a website only (M3AAWG, "Protecting Parked Domains").
    """
    mx = lookups.get(MX, _ABSENT)
    if mx.outcome is Outcome.NODATA and lookups.get(ADDRESS, _ABSENT).records:
        if parse_spf(lookups.get(TXT, _ABSENT).records).lets_nobody_pass:
            return ()
        return ((0, domain),)
    return parse_mx(mx.records)


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
    # An SPF record of the time of another MX still counts in the score; it names no mailbox behind the present one.
    spf_of_mailbox = Spf() if lookups.get(TXT, _ABSENT).doubt is Doubt.OTHER_MX else spf
    dmarc, dmarc_notes = _read_dmarc(domain, lookups)
    keys, targets, revoked = _read_dkim(lookups)
    autodiscover = next(iter(lookups.get(AUTODISCOVER, _ABSENT).records), None)
    ns = lookups.get(NS, _ABSENT).records

    hints, other_evidence = _find_hints(spf_of_mailbox, lookups, targets, ns)
    hints += _hints_without_dot(domain, autodiscover, targets)
    weights = {owner: _confidence(kinds - {"ns"}) for owner, kinds in _kinds_by_owner(hints).items()}
    reading = read_mx(mx_pairs(domain, lookups), mx_targets(lookups), weights)
    if needs_hints(reading):
        hints = [*_other_mx_hints(reading), *hints, *_key_hints(keys, targets), *_address_hints(lookups)]
    tenant_evidence = _tenant_evidence(lookups, scanned_at)
    confirming = {one.kind for one in (*other_evidence, *tenant_evidence)} & _CONFIRMING
    hint_kinds = _kinds_by_owner(hints)
    mailbox = _classify_mailbox(reading, hint_kinds, confirming)
    undecided, unanswered = _open_questions(reading, mailbox, hint_kinds, confirming, lookups, scanned_at)
    tenant_name = next((name for _, target in targets if (name := dkim.tenant_of(target))), None)
    if tenant_name:
        tenant = (tenant_name, TenantSource.DKIM_TARGET)

    notes = [*mailbox.notes]
    notes += ["mx_tie"] * reading.tie + ["mx_mixed_providers"] * reading.mixed
    notes += ["mailbox_unanswered"] * bool(unanswered)
    notes += ["implicit_mx"] * (mx_lookup.outcome is Outcome.NODATA and reading.host is not None)
    notes += ["spf_multiple_records"] * spf.multiple
    notes += dmarc_notes
    notes += ["dkim_revoked"] * revoked
    notes += ["answers_cut"] * any(lookup.cut for lookup in lookups.values())
    notes += ["ms_txt"] * any(_MS_TXT.match(text) for text in texts)
    return MailSignals(
        domain=domain,
        scanned_at=scanned_at,
        provider=mailbox.provider,
        provider_name=mailbox.name,
        gateway=reading.gateway,
        confidence=mailbox.confidence,
        evidence=(*_mx_evidence(reading), *(hint.evidence for hint in hints), *other_evidence, *tenant_evidence),
        decided_by=_decided_by(reading, mailbox, hints),
        notes=tuple(notes),
        undecided=undecided,
        unanswered=unanswered,
        local_host=_local_host(domain, mx_lookup, reading) if mailbox.provider is Provider.LOCAL else None,
        mx=mx,
        mx_outcome=mx_lookup.outcome,
        no_mx_reason=_no_mx_reason(lookups, reading),
        spf=spf,
        spf_error=spf.error or next(iter(lookups.get(SPF_ERROR, _ABSENT).records), None),
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


def _no_mx_reason(lookups: Mapping[str, Lookup], reading: MxReading) -> str | None:
    lookup = lookups.get(MX, _ABSENT)
    # Without an MX record the domain's own address takes the mail, so an answer about it is needed too.
    has_address = lookup.outcome is Outcome.NODATA and ADDRESS in lookups and reading.host is not None
    is_open = lookup.outcome is Outcome.NODATA and ADDRESS in lookups and not lookups[ADDRESS].is_fact
    if not lookup.is_fact or has_address or is_open:
        return None
    return lookup.outcome.value if lookup.outcome is not Outcome.FOUND else reading.no_mail


def _local_host(domain: str, lookup: Lookup, reading: MxReading) -> LocalHost:
    return LocalHost.IMPLICIT if lookup.outcome is Outcome.NODATA else local_host_of(domain, reading.host or domain)


def local_host_of(domain: str, host: str) -> LocalHost:
    """Return what a mail host is that is not in the table.

    An address as an MX host is the company's own mistake, so it counts as its own host.
    """
    is_own = host == domain or host.endswith(f".{domain}") or is_address(host)
    return LocalHost.OWN if is_own else LocalHost.UNLISTED


def _open_questions(
    reading: MxReading,
    mailbox: _Mailbox,
    hint_kinds: Mapping[Owner, set[str]],
    confirming: set[str],
    lookups: Mapping[str, Lookup],
    now: datetime,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the look-ups without an answer that could still name the mailbox or a tenant.

    The first are those that are waited for, so that the company has no score yet; the second those that were waited for
    long enough (WAIT_HOURS), so that it has one, which says what is not known.
    """
    address = lookups.get(ADDRESS)
    if address is not None and not address.is_fact:
        missing = {ADDRESS: "mx"}
    elif needs_hints(reading) and mailbox.by_hints is None:
        missing = _missing_hints(lookups)
    else:
        missing = {}
    if not missing or not _could_change(reading, missing, hint_kinds, confirming):
        return (), ()
    waited = [name for name in missing if _is_over(lookups[name], now)]
    return (tuple(missing), ()) if len(waited) < len(missing) else ((), tuple(missing))


def _missing_hints(lookups: Mapping[str, Lookup]) -> dict[str, str]:
    """Return the kind of hint that each look-up without a fact could bring."""
    kinds = {
        MX: "mx", MX_HOSTS: "mx", MX_ADDRESSES: "ptr", TXT: "spf", SPF_NESTED: "spf",
        AUTODISCOVER: "autodiscover", AUTODISCOVER_SRV: "autodiscover",
        ENTERPRISE_REGISTRATION: "microsoft", LYNCDISCOVER: "microsoft", NS: "ns",
    }  # fmt: skip
    table = provider_table()
    selectors = {s: lookup for name, lookup in lookups.items() if (s := selector_of(name)) is not None}
    # A provider that gives out several selectors needs them all, so the answer at one tells of the others.
    told = {table.owner_of_selector(selector) for selector, lookup in selectors.items() if lookup.is_fact}
    for selector in selectors:
        if (owner := table.owner_of_selector(selector)) is not None and owner not in told:
            kinds[dkim_lookup(selector)] = "dkim"
        elif table.owner_of_key(selector) is not None:
            kinds[dkim_lookup(selector)] = "dkim_key"
    return {name: kind for name, kind in kinds.items() if name in lookups and _is_missing(lookups[name])}


def _is_missing(lookup: Lookup) -> bool:
    return lookup.doubt is not None or not lookup.is_fact


def _could_change(
    reading: MxReading, missing: Mapping[str, str], hint_kinds: Mapping[Owner, set[str]], confirming: set[str]
) -> bool:
    """Say whether the missing answers, each at its best, would name a mailbox or a tenant."""
    kinds = set(missing.values())
    if "mx" in kinds or any(kind == "dkim" and _MICROSOFT_SELECTOR.fullmatch(name) for name, kind in missing.items()):
        return True
    behind_gateway = reading.owner is not None and reading.owner.kind is Kind.GATEWAY
    known = [*(kinds_of_one | confirming for kinds_of_one in hint_kinds.values()), set(confirming)]
    return any(are_enough(kinds_of_one | kinds, behind_gateway) for kinds_of_one in known)


def _is_over(lookup: Lookup, now: datetime) -> bool:
    return lookup.missed_since is not None and now - lookup.missed_since >= timedelta(hours=WAIT_HOURS)


def _read_dmarc(domain: str, lookups: Mapping[str, Lookup]) -> tuple[Dmarc | None, list[str]]:
    own = lookups.get(DMARC, _ABSENT).records
    record = select_dmarc(own, domain)
    notes = ["dmarc_multiple_records"] if record is None and sum(map(is_dmarc, own)) > 1 else []
    if record is None:
        above = (text.partition(" ") for text in lookups.get(DMARC_ABOVE, _ABSENT).records)
        record = choose(parsed for name, _, text in above if (parsed := parse_dmarc(text, name)))
        exists = lookups.get(MX, _ABSENT).outcome is not Outcome.NXDOMAIN
        record = record and inherited(record, exists=exists)
    if record is not None and record.policy_note:
        notes.append(record.policy_note)
    if record is not None and record.t == "y":
        notes.append("dmarc_testing")
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
    if reading.owner is None:
        return (Evidence("mx", reading.host, Provider.LOCAL.value),)
    if reading.owner.kind is Kind.GATEWAY:
        return (Evidence("gateway", reading.name, reading.owner.name),)
    kind = "mx" if reading.name == reading.host else "mx_cname"
    return (Evidence(kind, reading.name, _points_to(reading.owner)),)


def _decided_by(reading: MxReading, mailbox: _Mailbox, hints: list[_Hint]) -> Evidence | None:
    """Return the evidence that named the provider: the MX, or the strongest hint at the owner that hints named."""
    if mailbox.by_hints is None:
        return next((one for one in _mx_evidence(reading) if one.kind != "gateway"), None)
    ours = [hint.evidence for hint in hints if hint.owner == mailbox.by_hints]
    return max(ours, key=lambda one: (one.kind in _STRONG, HINT_WEIGHTS[one.kind]))


def _points_to(owner: Owner) -> str:
    return owner.name if owner.provider is Provider.UNKNOWN else owner.provider.value


def _find_hints(
    spf: Spf,
    lookups: Mapping[str, Lookup],
    dkim_targets: tuple[tuple[str, str], ...],
    ns: tuple[str, ...],
) -> tuple[list[_Hint], list[Evidence]]:
    """Return the hints at the mailbox, strongest kind first, and the other evidence of known owners."""
    candidates = [
        *((Place.DKIM, target, f"{selector} {target}") for selector, target in dkim_targets),
        *((Place.SPF, host, host) for host in (*spf.targets, *lookups.get(SPF_NESTED, _ABSENT).records)),
        *((Place.AUTODISCOVER, host, host) for host in _autodiscover_hosts(lookups)),
    ]
    hints: dict[_Hint, None] = {}
    other_evidence: dict[Evidence, None] = {}
    for place, host, detail in candidates:
        owner = owner_of(host, place)
        if owner is None:
            continue
        if owner.kind is Kind.MAILBOX:
            hints[_Hint(owner, Evidence(place.value, detail, _points_to(owner)))] = None
        elif owner.kind is not Kind.PARKING:
            other_evidence[Evidence(owner.kind.value, detail, _points_to(owner))] = None
    for term in (*spf.networks, *lookups.get(SPF_NESTED, _ABSENT).records):
        if (owner := owner_of_network(term)) is not None:
            hints[_Hint(owner, Evidence(Place.SPF.value, term, _points_to(owner)))] = None
    for host in ns:
        if (owner := owner_of(host, Place.NS)) is not None and owner.provider is Provider.HOSTING:
            hints[_Hint(owner, Evidence(Place.NS.value, host, _points_to(owner)))] = None
    for name in (ENTERPRISE_REGISTRATION, LYNCDISCOVER):
        for target in lookups.get(name, _ABSENT).records:
            if host_key(target) in _MICROSOFT:
                other_evidence[Evidence("microsoft", target, Provider.M365.value)] = None
    return list(hints), list(other_evidence)


def _autodiscover_hosts(lookups: Mapping[str, Lookup]) -> tuple[str, ...]:
    """Return the targets of the CNAME and, where it was asked for, of the SRV record."""
    srv = (record.rpartition(" ")[2] for record in lookups.get(AUTODISCOVER_SRV, _ABSENT).records)
    return tuple(dict.fromkeys((*lookups.get(AUTODISCOVER, _ABSENT).records[:1], *srv)))


def _hints_without_dot(domain: str, autodiscover: str | None, dkim_targets: tuple[tuple[str, str], ...]) -> list[_Hint]:
    """Return the mail services that CNAMEs were meant for whose target lacks the dot at its end.

    `autodiscover CNAME autodiscover.outlook.com`, written in the zone of firma.com.tr without that dot, is
    autodiscover.outlook.com.firma.com.tr (RFC 1035, section 5.1). It leads nowhere, but says what a person set up.
    """
    written = [(Place.AUTODISCOVER, autodiscover or ""), *((Place.DKIM, target) for _, target in dkim_targets)]
    meant = ((place, target, target.removesuffix(f".{domain}")) for place, target in written)
    owners = ((owner_of(host, place), target) for place, target, host in meant if host != target)
    return [
        _Hint(owner, Evidence("missing_dot", target, _points_to(owner)))
        for owner, target in owners
        if owner is not None and owner.kind is Kind.MAILBOX
    ]


def _key_hints(keys: tuple[str, ...], dkim_targets: tuple[tuple[str, str], ...]) -> list[_Hint]:
    """Return the providers at whose own selectors the domain has a key, and no CNAME that would name another."""
    alone = [selector for selector in keys if selector not in dict(dkim_targets)]
    owners = ((selector, provider_table().owner_of_key(selector)) for selector in alone)
    return [_Hint(owner, Evidence("dkim_key", selector, _points_to(owner))) for selector, owner in owners if owner]


def _address_hints(lookups: Mapping[str, Lookup]) -> list[_Hint]:
    """Return the hosters that have named the addresses of the MX hosts as hosts of their own."""
    names = {record.rpartition(" ")[2]: record for record in lookups.get(MX_ADDRESSES, _ABSENT).records}
    owners = ((owner_of(name), record) for name, record in names.items())
    return [
        _Hint(owner, Evidence("ptr", record, _points_to(owner)))
        for owner, record in owners
        if owner is not None and owner.provider is Provider.HOSTING
    ]


def _other_mx_hints(reading: MxReading) -> list[_Hint]:
    """Return the mail services that a host of another preference than the deciding one belongs to.

    A mail service takes in mail only for a domain that its customer has proven to own. A hoster's host of another
    preference says less: hosters offer a second MX to keep mail while the first does not answer.
    """
    return [
        _Hint(owner, Evidence("mx_other", name, _points_to(owner)))
        for name, owner in reading.others
        if owner.kind is Kind.MAILBOX
        and owner.provider not in (Provider.HOSTING, Provider.UNKNOWN)
        and owner != reading.owner
    ]


def _tenant_evidence(lookups: Mapping[str, Lookup], now: datetime) -> list[Evidence]:
    """Return the answer of the public tenant look-up, where it is new enough to confirm other hints."""
    found = lookups.get(TENANT, _ABSENT)
    is_new = found.answered_at is not None and now - found.answered_at <= timedelta(days=TENANT_FACT_DAYS)
    return [Evidence("tenant", tenant, Provider.M365.value) for tenant in found.records if is_new]


def _kinds_by_owner(hints: list[_Hint]) -> dict[Owner, set[str]]:
    """Return the kinds of hints at each owner: two of one kind count once."""
    kinds: dict[Owner, set[str]] = {}
    for hint in hints:
        kinds.setdefault(hint.owner, set()).add(hint.evidence.kind)
    return kinds


def _classify_mailbox(reading: MxReading, hint_kinds: Mapping[Owner, set[str]], confirming: set[str]) -> _Mailbox:
    if not needs_hints(reading):
        if reading.owner is None:
            return _Mailbox(Provider.UNKNOWN, None, 0)
        return _by_mx(reading, reading.owner, hint_kinds)

    hint_kinds = {owner: kinds for owner, kinds in hint_kinds.items() if not owner.forwards}
    known = {o: kinds | (confirming if o.provider is Provider.M365 else set()) for o, kinds in hint_kinds.items()}
    behind_gateway = reading.owner is not None and reading.owner.kind is Kind.GATEWAY
    named = {owner: _confidence(kinds) for owner, kinds in known.items() if are_enough(kinds, behind_gateway)}
    highest = max(named.values(), default=0)
    best = [owner for owner, confidence in named.items() if confidence == highest]
    # A hoster often has only the web site, which also sends mail (from its forms).
    best = [owner for owner in best if owner.provider is not Provider.HOSTING] or best
    if len(best) == 1:
        return _Mailbox(best[0].provider, best[0].name, highest, by_hints=best[0])
    note = _note_on(hint_kinds, bool(best))
    if behind_gateway:
        return _Mailbox(Provider.UNKNOWN, None, 0, note if any(kinds - {"ns"} for kinds in hint_kinds.values()) else ())
    if reading.owner is not None:
        elsewhere = any(owner != reading.owner for owner in hint_kinds)
        return _Mailbox(reading.owner.provider, reading.owner.name, _mx_confidence(reading), note if elsewhere else ())
    if hint_kinds:
        return _Mailbox(Provider.LOCAL, None, LOCAL_HINT_CONFIDENCE, note)
    return _Mailbox(Provider.LOCAL, None, LOCAL_CONFIDENCE)


def _note_on(hint_kinds: Mapping[Owner, set[str]], is_conflict: bool) -> tuple[str, ...]:
    """Return the note on hints that named nobody: they contradict each other with the same weight, or are too weak."""
    weights = sorted(
        (_confidence(kinds) for owner, kinds in hint_kinds.items() if owner.provider is not Provider.HOSTING),
        reverse=True,
    )
    if is_conflict or (len(weights) > 1 and weights[0] == weights[1]):
        return ("mailbox_conflict",)
    return ("mailbox_hint",) if hint_kinds else ()


def _by_mx(reading: MxReading, owner: Owner, hint_kinds: Mapping[Owner, set[str]]) -> _Mailbox:
    """Return the mailbox where the MX is a provider's own, and say where other records name a mail service.

    A hoster's MX with a DKIM target, an autodiscover host and an SPF include at one mail service: the mailboxes are
    there, and the hoster's server is only passed. With less the MX decides, less surely.
    """
    confidence = _mx_confidence(reading)
    if owner.provider is Provider.HOSTING:
        services = {o: kinds for o, kinds in hint_kinds.items() if o.provider is not Provider.HOSTING}
        whole = [service for service, kinds in services.items() if kinds >= _ALL_OF_A_MAILBOX]
        if len(whole) == 1:
            return _Mailbox(
                whole[0].provider, whole[0].name, ELSEWHERE_CONFIDENCE, ("mailbox_elsewhere",), by_hints=whole[0]
            )
        if any(kinds & _STRONG for kinds in services.values()):
            confidence = min(confidence, ELSEWHERE_CONFIDENCE)
            return _Mailbox(owner.provider, owner.name, confidence, ("mailbox_elsewhere",))
    return _Mailbox(classify_provider(reading), owner.name, confidence)


def _mx_confidence(reading: MxReading) -> int:
    confidence = MX_CONFIDENCE if reading.name == reading.host else MX_CNAME_CONFIDENCE
    return min(confidence, TIE_CONFIDENCE) if reading.tie else confidence


def are_enough(kinds: set[str], behind_gateway: bool) -> bool:
    """Say whether hints of these kinds name the mailbox (mail_signals.md, "Behind a gateway").

    Behind a known gateway one strong hint is enough. Behind any other MX that leaves it open two are needed, one of
    them strong. Google has its customers publish a key and no CNAME: its selector and an SPF include are two.
    """
    if "mx_other" in kinds or {"spf", "dkim_key"} <= kinds:
        return True
    if behind_gateway:
        return bool(kinds & _STRONG) or ("spf" in kinds and bool(kinds & _CONFIRMING))
    return bool(kinds & _STRONG) and len(kinds & _HINTS_BY_THEMSELVES) >= HINTS_NEEDED


def _confidence(kinds: set[str]) -> int:
    all_wrong = 1.0
    for kind in kinds:
        all_wrong *= 1 - HINT_WEIGHTS[kind] / 100
    return round((1 - all_wrong) * 100)
