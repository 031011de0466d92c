"""From a payload to a lead: which field of a referral means what (partner_center_api.md, section 3).

Not here: versions and windows (`warehouse`), and the parsing of instants (`windows`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final

from email_validator import EmailNotValidError, validate_email

from partner_center_pipeline.leads.category import CategoryRule, ReferralCategory, categorize
from partner_center_pipeline.leads.customer_domain import DomainReason, find_domain
from partner_center_pipeline.leads.domains import AROUND_ADDRESSES, CACHED_HOSTS, mended
from partner_center_pipeline.leads.folding import without_invisible
from partner_center_pipeline.leads.names import company_name, repair_line, repair_text
from partner_center_pipeline.leads.payload import at, items, mapping, text
from partner_center_pipeline.leads.suggestions import name_block
from partner_center_pipeline.vocabulary import TenantSource

LARGEST_DEAL: Final = Decimal(10) ** 13
"""A deal value of this size or more is a typing error and counts as missing.

SQLite keeps amounts as REAL, where cents are exact up to 2**46 (7.04e13); this is the power of ten below.
"""

_TURKEY: Final = "TR"
_CENTS: Final = Decimal("0.0001")
_NUMBER: Final = re.compile(r"[+-]?\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_BETWEEN_ADDRESSES: Final = re.compile(r"[\s,;<>]+")
_PLAIN_ADDRESS: Final = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@([A-Za-z0-9.-]+)", re.ASCII)
_LONGEST_ADDRESS: Final = 254
"""Characters of an e-mail address (RFC 5321, errata 1690)."""


@dataclass(frozen=True, slots=True)
class LeadFacts:
    """What a referral says, cleaned; None where it says nothing usable. Table `leads` has a column for each field.

    `*_text` are instants as the API printed them. Domain and tenant are those of `DomainFinding`, the company's name
    those of `CompanyName` with its `name_block`. The contact is the customer's, for the sales team. `products` are the
    API's product codes.
    """

    engagement_id: str | None
    organization_id: str | None
    name: str | None
    category: ReferralCategory
    category_rule: CategoryRule
    type: str | None
    qualification: str | None
    direction: str | None
    status: str | None
    substatus: str | None
    is_open: bool
    company_name: str | None
    company_name_original: str | None
    company_name_key: str | None
    company_name_block: str | None
    domain: str | None
    host: str | None
    domain_source: str | None
    domain_reason: DomainReason | None
    tenant: str | None
    tenant_source: TenantSource | None
    contact_name: str | None
    contact_email: str | None
    contact_phone: str | None
    country: str | None
    city: str | None
    company_size: str | None
    created_text: str | None
    expires_text: str | None
    closed_text: str | None
    deal_value: Decimal | None
    currency: str | None
    products: tuple[str, ...]
    notes: str | None


@dataclass(frozen=True, slots=True)
class _Contact:
    name: str | None
    email: str | None
    phone: str | None


def read_lead(payload: Mapping[str, object], own_domains: frozenset[str]) -> LeadFacts:
    """Read the facts of a referral. `own_domains` are the partner's own.

    Never raises for a JSON value of any shape: a value of the wrong type counts as missing.
    """
    profile = mapping(payload.get("customerProfile"))
    details = mapping(payload.get("details"))
    category = categorize(payload)
    finding = find_domain(payload, own_domains)
    country = _code(at(profile, "address", "country"))
    of_turkey = country == _TURKEY
    company = company_name(profile.get("name"), of_turkey=of_turkey)
    contact = _first_contact(profile, of_turkey=of_turkey)
    status = text(payload.get("status"))
    return LeadFacts(
        engagement_id=text(payload.get("engagementId")),
        organization_id=text(payload.get("organizationId")),
        name=_line(payload.get("name"), of_turkey=of_turkey),
        category=category.category,
        category_rule=category.rule,
        type=text(payload.get("type")),
        qualification=text(payload.get("qualification")),
        direction=text(payload.get("direction")),
        status=status,
        substatus=text(payload.get("substatus")),
        is_open=status is None or status.lower() != "closed",
        company_name=company.name,
        company_name_original=company.original,
        company_name_key=company.key,
        company_name_block=name_block(company.key),
        domain=finding.domain,
        host=finding.host,
        domain_source=finding.source,
        domain_reason=finding.reason,
        tenant=finding.tenant,
        tenant_source=finding.tenant_source,
        contact_name=contact.name,
        contact_email=contact.email,
        contact_phone=contact.phone,
        country=country,
        city=_line(at(profile, "address", "city"), of_turkey=of_turkey),
        company_size=text(profile.get("size")),
        created_text=text(payload.get("createdDateTime")),
        expires_text=text(payload.get("expirationDateTime")),
        closed_text=text(payload.get("closedDateTime")),
        deal_value=deal_value(details.get("dealValue")),
        currency=_code(details.get("currency")),
        products=_product_ids(details),
        notes=_with_note(_paragraphs(details.get("notes"), of_turkey=of_turkey), finding.note),
    )


def deal_value(value: object) -> Decimal | None:
    """Read a number, or a text that is one (PATCH samples send "10000"), exact to four fraction digits.

    Returns None for anything else: booleans, NaN, infinities, grouped digits, and `LARGEST_DEAL` or more.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    if isinstance(value, int):
        number = Decimal(value)
    else:
        digits = str(value).strip()
        if not _NUMBER.fullmatch(digits):
            return None
        number = Decimal(digits)
    if abs(number) >= LARGEST_DEAL:
        return None
    exponent = number.as_tuple().exponent
    return number.quantize(_CENTS) if isinstance(exponent, int) and exponent < -4 else number


def _first_contact(profile: Mapping[str, object], *, of_turkey: bool) -> _Contact:
    """Return the first customer contact with an e-mail address; else with a telephone; else with a name."""
    members = [mapping(member) for member in items(profile.get("team"))]
    for member in members:
        email = _email_address(member.get("email"))
        if email is not None:
            return _Contact(_full_name(member, of_turkey=of_turkey), email, _line(member.get("phoneNumber")))
    others = [
        _Contact(_full_name(member, of_turkey=of_turkey), None, _line(member.get("phoneNumber"))) for member in members
    ]
    with_phone = (contact for contact in others if contact.phone is not None)
    with_name = (contact for contact in others if contact.name is not None)
    return next(with_phone, None) or next(with_name, _Contact(None, None, None))


def _full_name(member: Mapping[str, object], *, of_turkey: bool) -> str | None:
    names = (_line(member.get(name), of_turkey=of_turkey) for name in ("firstName", "lastName"))
    return " ".join(filter(None, names)) or None


def _email_address(value: object) -> str | None:
    """Return the first e-mail address in a text, as written there: it may be in a link or behind a name."""
    if not isinstance(value, str):
        return None
    for word in _BETWEEN_ADDRESSES.split(mended(without_invisible(value))):
        address = word.strip(AROUND_ADDRESSES).removeprefix("mailto:")
        if "@" not in address:
            continue
        if is_email_address(address):
            return address
    return None


def is_email_address(text: str) -> bool:
    """Say whether a text is an e-mail address by its syntax, as email-validator does.

    Of most addresses only the domain needs its hundred microseconds, and contacts share their domains.
    """
    plain = _PLAIN_ADDRESS.fullmatch(text)
    if plain is not None and len(text) <= _LONGEST_ADDRESS:
        return _is_mail_domain(plain[1])
    return _is_valid(text)


@lru_cache(maxsize=CACHED_HOSTS)
def _is_mail_domain(domain: str) -> bool:
    return _is_valid(f"a@{domain}")


def _is_valid(address: str) -> bool:
    try:
        validate_email(address, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


def _product_ids(details: Mapping[str, object]) -> tuple[str, ...]:
    ids = (text(mapping(item).get("id")) for item in items(at(details, "requirements", "products")))
    return tuple(dict.fromkeys(found for found in ids if found is not None))


def _line(value: object, *, of_turkey: bool = False) -> str | None:
    return repair_line(value, of_turkey=of_turkey) if isinstance(value, str) else None


def _paragraphs(value: object, *, of_turkey: bool) -> str | None:
    return repair_text(value, of_turkey=of_turkey) if isinstance(value, str) else None


def _with_note(notes: str | None, ours: str | None) -> str | None:
    """Return the deal's notes, and below them, in square brackets, what the rules have to say to people."""
    return "\n".join(filter(None, (notes, ours and f"[{ours}]"))) or None


def _code(value: object) -> str | None:
    """Return a code such as TR or USD in upper case."""
    found = text(value)
    return found.upper() if found is not None and found.isascii() else found
