"""Which domain and which Microsoft tenant are the customer's: where in a payload to look, and who owns a domain.

See identity.md, "Where a domain can come from" and "Not a company's domain"; scoring.md, section 4, for tenants. Not
here: what a domain is (`domains`), the lists (`known_domains`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from partner_center_pipeline.leads.consumer_mail import is_consumer, meant_by, meant_service
from partner_center_pipeline.leads.domains import (
    Host,
    Platform,
    behind_at,
    find_hosts,
    parents,
    unicode_domain,
)
from partner_center_pipeline.leads.known_domains import (
    CONSUMER_MAIL,
    DISPOSABLE_MAIL,
    MICROSOFT_EXAMPLES,
    MICROSOFT_MAIL,
    PLACEHOLDERS,
    RELAY_MAIL,
    RESERVED_DOMAINS,
)
from partner_center_pipeline.leads.payload import at, items, mapping, text
from partner_center_pipeline.leads.tenants import shown_as_drift, tenant_names, tenant_of
from partner_center_pipeline.vocabulary import TenantSource

_WWW: Final = re.compile(r"(?:^|[^\w.])www\d{0,3}\.", re.IGNORECASE)
_PARENTS: Final[tuple[tuple[str, ...], ...]] = ((), ("customerProfile",), ("details",))
_WEBSITES: Final = ("website", "companyWebsite")
_TENANTS: Final = ("azureTenantId", "azure_tenant_id", "tenantId")


class DomainReason(StrEnum):
    """Why a referral has no domain.

    Of several reasons the first in this order counts: it helps most to find the customer's company.
    """

    TENANT_ONLY = "tenant_only"
    KEP_ONLY = "kep_only"
    SOCIAL_HOST = "social_host"
    OWN_DOMAIN = "own_domain"
    MICROSOFT = "microsoft"
    CONSUMER_ONLY = "consumer_only"
    RELAY_ONLY = "relay_only"
    DISPOSABLE_ONLY = "disposable_only"
    INVALID = "invalid"
    NO_EMAIL = "no_email"
    REFUSED_BY_HAND = "refused_by_hand"
    """A person said that what the referral names is not the customer's; no rule gives this reason."""


@dataclass(frozen=True, slots=True)
class DomainFinding:
    """The customer's domain and tenant, as far as a referral names them.

    `domain` is the registrable one in punycode, `host` what the field named with its sub-domain (punycode), `source`
    the field's path, e.g. `customerProfile.team[0].email`; all None without a domain, and then `reason` says why.
    `tenant` is an id or a name such as `firma.onmicrosoft.com`.
    `note` is for people: what else the field names, or what its author probably meant.
    """

    domain: str | None
    host: str | None
    source: str | None
    reason: DomainReason | None
    tenant: str | None
    tenant_source: TenantSource | None
    note: str | None = None


_REASON_OF_PLATFORM: Final = {
    Platform.TENANT: DomainReason.TENANT_ONLY,
    Platform.KEP: DomainReason.KEP_ONLY,
    Platform.SOCIAL: DomainReason.SOCIAL_HOST,
}
_REASON_OF_MAIL: Final = (
    (MICROSOFT_MAIL | MICROSOFT_EXAMPLES, DomainReason.MICROSOFT),
    (RESERVED_DOMAINS, DomainReason.INVALID),
    (DISPOSABLE_MAIL, DomainReason.DISPOSABLE_ONLY),
    (RELAY_MAIL, DomainReason.RELAY_ONLY),
    (CONSUMER_MAIL, DomainReason.CONSUMER_ONLY),
)
_REASON_ORDER: Final = list(DomainReason)


def find_domain(payload: Mapping[str, object], own_domains: frozenset[str]) -> DomainFinding:
    """Find the customer's domain and tenant in a referral (partner_center_api.md, section 3).

    Looks in this order at the e-mail addresses of `customerProfile.team`, website fields, and `External` ids that are a
    URL or an e-mail address; never at the top-level `team`. The first host that belongs to a company counts.
    `own_domains` are the partner's own, in any spelling. Never raises, whatever the payload's shape.
    """
    own = _own_names(own_domains)
    tenant, tenant_source = _find_tenant(payload, own)
    reasons = {DomainReason.NO_EMAIL}
    hint: str | None = None
    for source, value in _candidates(payload):
        hosts = list(find_hosts(value))
        if not hosts:
            meant = next(((name, service) for name in behind_at(value) if (service := meant_by(name))), None)
            reasons.add(DomainReason.CONSUMER_ONLY if meant else DomainReason.INVALID)
            hint = hint or _hint(source, meant)
        refusals = [_refusal(host, own) for host in hosts]
        usable = [host for host, refusal in zip(hosts, refusals, strict=True) if refusal is None]
        if usable:
            second = next((host.domain for host in usable if host.domain != usable[0].domain), None)
            return DomainFinding(
                domain=usable[0].domain,
                host=usable[0].name,
                source=source,
                reason=None,
                tenant=tenant,
                tenant_source=tenant_source,
                note=f"{source} also names {unicode_domain(second)}" if second else None,
            )
        reasons.update(filter(None, refusals))
        meant = next(((host.domain, name) for host in hosts if (name := meant_service(host.domain))), None)
        hint = hint or _hint(source, meant)
    first = min(reasons, key=_REASON_ORDER.index)
    return DomainFinding(None, None, None, first, tenant, tenant_source, hint)


def _hint(source: str, meant: tuple[str, str] | None) -> str | None:
    """Return the note about a misspelt name and the service that is meant by it."""
    return f"{source}: {meant[0]} is probably {meant[1]}" if meant else None


def values_without_tenant(payload: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the tenant fields that hold something else than a customer's tenant: path, and what may be shown of it."""
    return [
        (path, shown_as_drift(value))
        for path, value in _tenant_fields(payload)
        if not isinstance(value, str) or tenant_of(value, frozenset()) is None
    ]


def read_domain(value: str, own_domains: frozenset[str]) -> str | DomainReason:
    """Return the registrable domain that a person names, or why it cannot be a customer's.

    `own_domains` are the partner's own, in any spelling.
    """
    own, reasons = _own_names(own_domains), {DomainReason.INVALID}
    for host in find_hosts(value):
        reason = _refusal(host, own)
        if reason is None:
            return host.domain
        reasons.add(reason)
    return min(reasons, key=_REASON_ORDER.index)


def is_placeholder(value: str) -> bool:
    """Say whether a text is one of those that people write for "nothing"."""
    return value.strip().lower() in PLACEHOLDERS


def _candidates(payload: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the fields' paths and texts, in the order of identity.md, "Where a domain can come from"."""
    for source, value in _places(payload):
        found = text(value)
        if found is not None and not is_placeholder(found):
            yield source, found


def _places(payload: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    yield from _contact_emails(payload)
    yield from _beside(payload, _WEBSITES)
    ids = at(payload, "customerProfile", "ids")
    numbered = [(f"[{index}]", item) for index, item in enumerate(items(ids))]
    for place, item in numbered or [("", ids)]:  # a list, but an object has been seen too
        entry = mapping(item)
        value = entry.get("id")
        if entry.get("profileType") == "External" and isinstance(value, str) and _is_address(value):
            yield f"customerProfile.ids{place}.id", value


def _beside(payload: Mapping[str, object], names: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    """Yield the path and the value of each field with one of these names, in the payload and in its parts."""
    for parent in _PARENTS:
        fields = mapping(at(payload, *parent))
        for name in names:
            if (value := fields.get(name)) is not None:
                yield ".".join((*parent, name)), value


def _contact_emails(payload: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for index, member in enumerate(items(at(payload, "customerProfile", "team"))):
        yield f"customerProfile.team[{index}].email", mapping(member).get("email")


def _is_address(value: str) -> bool:
    """Say whether an id is a URL or an e-mail address; a customer number such as `CRM.NET` is not."""
    return "@" in value or "://" in value or _WWW.search(value) is not None


def _refusal(host: Host, own: frozenset[str]) -> DomainReason | None:
    """Return why a host is not the customer's, or None."""
    # Names above the registrable domain belong to a registry: free mail at za.com says nothing about firma.za.com.
    above = {name for name in parents(host.name) if len(name) >= len(host.domain)}
    if not own.isdisjoint(above):
        return DomainReason.OWN_DOMAIN
    if host.platform is not None:
        return _REASON_OF_PLATFORM[host.platform]
    listed = next((reason for names, reason in _REASON_OF_MAIL if not names.isdisjoint(above)), None)
    return listed or (DomainReason.CONSUMER_ONLY if is_consumer(host.domain) else None)


@lru_cache(maxsize=16)
def _own_names(own_domains: frozenset[str]) -> frozenset[str]:
    """Return the partner's names, normalised: registrable domains, but whole hosts on a platform."""
    hosts = (host for value in own_domains for host in find_hosts(value))
    return frozenset(host.domain if host.platform is None else host.name for host in hosts)


def _find_tenant(payload: Mapping[str, object], own: frozenset[str]) -> tuple[str | None, TenantSource | None]:
    """Return the customer's tenant and its source: from an undocumented field, else from a contact's address."""
    for _, value in _tenant_fields(payload):
        if isinstance(value, str) and (tenant := tenant_of(value, own)) is not None:
            return tenant, TenantSource.PAYLOAD
    emails = (value for _, value in _contact_emails(payload) if isinstance(value, str))
    name = next((name for email in emails for name in tenant_names(email, own)), None)
    return (name, TenantSource.EMAIL_DOMAIN) if name else (None, None)


def _tenant_fields(payload: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the paths and values of the fields that may name a tenant, without those that say nothing."""
    for path, value in _beside(payload, _TENANTS):
        if not isinstance(value, str) or (value.strip() and not is_placeholder(value)):
            yield path, value
