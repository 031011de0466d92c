"""What a referral of the simulated world looks like (partner_center_api.md, section 3).

It also holds Microsoft's published samples. Not here: which referrals there are and when they change (`world`).
"""

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any, Final

from partner_center_simulator.companies import VOCABULARY, Companies, Company, ascii_slug
from partner_center_simulator.instants import TICKS_PER_SECOND, parse_ticks, render_ticks
from partner_center_simulator.seeded_random import Draw, IndexGuid, guid

Payload = dict[str, Any]
"""One referral as JSON decodes it."""

DAY: Final = 86_400 * TICKS_PER_SECOND
RESPONSE_DAYS: Final = 14
"""Days after which a new referral without an answer expires, at midnight UTC (section 6)."""

MICROSOFT: Final = "msft"
_API: Final = "https://api.partner.microsoft.com/v1.0"
_OWN_NAME: Final = "Örnek Partner A.Ş."


class Kind(StrEnum):
    """The kind of a referral (section 3.3)."""

    LEAD = "lead"
    MARKETPLACE = "marketplace"
    COSELL_OWN = "co-sell, the partner's record"
    COSELL_MICROSOFT = "co-sell, Microsoft's record"
    ODD = "a combination the documents do not name"


@dataclass(frozen=True, slots=True)
class Plan:
    """The kind, the state and the instants (ticks) of a referral."""

    kind: Kind
    status: str
    substatus: str
    created: int
    updated: int
    expiration: int | None
    accepted: int | None
    closed: int | None

    def expires_at(self, day: int) -> bool:
        """Say whether it is unanswered and expires at exactly that midnight (ticks)."""
        return self.status == "New" and self.expiration == day


def etag(referral_id: str, updated: int) -> str:
    """Return an eTag in Cosmos DB's form. Its last group begins with the Unix time in seconds (section 3.2)."""
    first = Draw("etag", referral_id, updated).below(1 << 32)
    return f'"{first:08x}-0000-0000-0000-{updated // TICKS_PER_SECOND:08x}0000"'


def midnight(ticks: int) -> int:
    """Return the midnight UTC at or before an instant."""
    return ticks // DAY * DAY


def expiration_of(created: int) -> int:
    """Return when an unanswered referral expires: midnight UTC, 14 days after the day of its creation."""
    return midnight(created) + RESPONSE_DAYS * DAY


def samples() -> list[Payload]:
    """Return Microsoft's published sample payloads, unchanged, in the order of data/samples.json."""
    text = files("partner_center_simulator").joinpath("data/samples.json").read_text(encoding="utf-8")
    rows: list[Payload] = json.loads(text)
    return rows


class Payloads:
    """The referrals of a seed, one for each index from 0. They are computed when needed; nothing is stored.

    Only referrals of the last 14 days before `anchor` (ticks) may still be new.
    """

    def __init__(self, seed: int, anchor: int, companies: Companies, company_count: int) -> None:
        self._seed = seed
        self._anchor = anchor
        self._companies = companies
        self._company_count = company_count
        self.ids = IndexGuid(seed, "referral")
        self.engagements = IndexGuid(seed, "engagement")
        self.organization = guid(seed, "own organization")
        self.locations = tuple(guid(seed, "location", number) for number in range(3))

    def engagement_root(self, index: int) -> int:
        """Return the first referral of the engagement that referral `index` belongs to."""
        return index - 1 if index % 2 and self._is_pair(index) else index

    def plan(self, index: int, updated: int) -> Plan:
        """Return kind, state and instants of referral `index`, last changed at `updated` (ticks)."""
        draw = Draw(self._seed, "plan", index)
        if self._is_pair(index):
            kind = Kind.COSELL_MICROSOFT if index % 2 else Kind.COSELL_OWN
        else:
            kind = draw.weighted(((78, Kind.LEAD), (19, Kind.MARKETPLACE), (3, Kind.ODD)))
        age = draw.below(40 * DAY)
        created = draw.weighted(((50, updated - age), (50, updated - draw.below(3 * DAY))))
        created = _truncate(created, draw.below(8))
        if kind in (Kind.COSELL_OWN, Kind.COSELL_MICROSOFT):
            substatus = draw.weighted(((60, "Accepted"), (22, "Won"), (18, "Lost")))
            status = "Active" if substatus == "Accepted" else "Closed"
            closed = updated if status == "Closed" else None
            return Plan(kind, status, substatus, created, updated, None, created, closed)
        may_be_new = updated >= midnight(self._anchor) - (RESPONSE_DAYS - 1) * DAY
        substatus = draw.weighted(
            ((50, "Pending"), (5, "Received"), (28, "Accepted"), (6, "Declined"), (6, "Won"), (5, "Lost"))
            if may_be_new
            else ((38, "Expired"), (24, "Accepted"), (14, "Declined"), (12, "Won"), (12, "Lost"))
        )
        if kind is Kind.ODD and draw.chance(20):
            return Plan(kind, "None", "None", created, updated, None, None, None)
        if substatus in ("Pending", "Received"):
            if substatus == "Pending" or midnight(created) != midnight(updated):
                created = updated
            return Plan(kind, "New", substatus, created, updated, expiration_of(created), None, None)
        if substatus == "Accepted":
            accepted = created + draw.below(max(1, updated - created))
            return Plan(kind, "Active", substatus, created, updated, None, accepted, None)
        if substatus == "Expired":
            created = updated - RESPONSE_DAYS * DAY - draw.below(DAY)
            return Plan(kind, "Closed", substatus, created, updated, expiration_of(created), None, updated)
        accepted_at = None if substatus == "Declined" else created
        return Plan(kind, "Closed", substatus, created, updated, None, accepted_at, updated)

    def of(self, index: int, updated: int) -> Payload:
        """Return referral `index`, last changed at `updated` (ticks)."""
        return self._render(index, self.plan(index, updated))

    def new(self, index: int, created: int) -> Payload:
        """Return referral `index` as it is when created (ticks): unanswered, or accepted if it is a co-sell record."""
        kind = self.plan(index, created).kind
        if kind in (Kind.COSELL_OWN, Kind.COSELL_MICROSOFT):
            plan = Plan(kind, "Active", "Accepted", created, created, None, created, None)
        else:
            plan = Plan(kind, "New", "Pending", created, created, expiration_of(created), None, None)
        return self._render(index, plan)

    def server_fields(self, index: int, at: int) -> Payload:
        """Return the fields that the server sets in referral `index`, which a caller creates at `at` (ticks)."""
        referral_id, engagement_id, now = self.ids.of(index), self.engagements.of(index), render_ticks(at)
        return {
            "id": referral_id,
            "engagementId": engagement_id,
            "organizationId": self.organization,
            "organizationName": _OWN_NAME,
            "externalReferenceId": None,
            "createdDateTime": now,
            "updatedDateTime": now,
            "expirationDateTime": None,
            "closedDateTime": None,
            "registrations": [],
            "registrationStatus": "None",
            "eTag": etag(referral_id, at),
            "links": _links(referral_id, engagement_id, "engagements"),
        }

    def _is_pair(self, index: int) -> bool:
        return Draw(self._seed, "pair", index // 2).chance(12)

    def _render(self, index: int, plan: Plan) -> Payload:
        seed = self._seed
        cosell = plan.kind in (Kind.COSELL_OWN, Kind.COSELL_MICROSOFT)
        microsoft_side = plan.kind is Kind.COSELL_MICROSOFT
        deal = Draw(seed, "deal", index // 2 if cosell else index + (1 << 40))  # the same for both records of a pair
        company = self._companies.company(_company_index(deal, self._company_count))
        name = deal.pick(VOCABULARY["deals"])
        value = deal.below(400) * 250
        draw = Draw(seed, "referral", index)
        referral_id = self.ids.of(index)
        engagement_id = self.engagements.of(self.engagement_root(index))
        path = "engagments" if draw.chance(30) else "engagements"
        requirements: Payload = {
            "industries": [{"id": draw.pick(VOCABULARY["industries"])}] if draw.chance(70) else [],
            "products": [{"id": draw.pick(VOCABULARY["products"])}],
            "services": [{"id": draw.pick(VOCABULARY["services"])}],
            "solutions": [],
            "offers": [],
        }
        if cosell:
            category = draw.pick(VOCABULARY["categories"])
            requirements["solutions"] = [{"id": category, "name": category, "type": "Category"}]
        row: Payload = {
            "id": referral_id,
            "engagementId": engagement_id,
            "organizationId": MICROSOFT if microsoft_side else self.organization,
            "organizationName": "Microsoft" if microsoft_side else _OWN_NAME,
            "name": f"{name} - {company.name}" if cosell else f"Lead - {company.name}",
            "externalReferenceId": f"CRM-OPP-{index}" if cosell and draw.chance(60) else draw.pick((None, None, "")),
            "createdDateTime": render_ticks(plan.created),
            "updatedDateTime": render_ticks(plan.updated),
            "expirationDateTime": _render_or_none(plan.expiration),
            "acceptedDateTime": _render_or_none(plan.accepted),
            "closedDateTime": _render_or_none(plan.closed),
            "status": plan.status,
            "substatus": plan.substatus,
            "statusReason": "Bütçe onaylanmadı" if plan.substatus in ("Lost", "Declined") else None,
            **_classification(plan.kind, draw),
            "direction": "Outgoing" if cosell else "Incoming",
            "quality": "Unknown",
            "isSpam": draw.chance(1),
            "tags": [],
            "favorite": draw.chance(3),
            "campaignId": None,
            "salesStage": "100" if plan.substatus == "Won" else draw.pick(VOCABULARY["stages"]),
            "registrationStatus": "ReviewPending" if cosell and draw.chance(5) else "None",
            "dealSensitivity": "None",
            "customerProfile": self._customer(company, draw, index),
            "consent": {
                "consentToToShareInfoWithOthers": True,
                "consentToContact": True,
                "consentToShareReferralWithMicrosoftSellers": cosell,
            },
            "details": {
                "notes": draw.pick(VOCABULARY["leads"]),
                "dealValue": float(value) if cosell else draw.pick((None, 0, value)),
                "currency": draw.pick(("TRY", "USD", "EUR")) if cosell else draw.pick(("TRY", "USD", None)),
                "closingDateTime": _render_or_none(midnight(plan.created) + 90 * DAY) if cosell else None,
                "customerRequestedContact": draw.chance(20),
                "requirements": requirements,
            },
            "team": [_team_member(draw, plan.kind)] if cosell else [],
            "target": [_target(plan.kind, Draw(seed, "location", index).pick(self.locations))],
            "inviteContext": self._invitation(plan.kind, draw),
            "trackingInfo": {"microsoftMsxId": f"7-{index:010d}"} if microsoft_side else None,
            "registrations": [],
            "eTag": etag(referral_id, plan.updated),
            "links": _links(referral_id, engagement_id, path),
        }
        if draw.chance(2):
            row["customerMarketplaceIntent"] = draw.pick(("Yes", "No", "Have not decided"))
        return row

    def _customer(self, company: Company, draw: Draw, index: int) -> Payload:
        in_region = draw.chance(25)
        name = html.escape(company.name, quote=False) if draw.chance(70) else company.name
        ids: object = draw.weighted(
            (
                (55, [{"profileType": "External", "id": f"EX-{index:06d}"}, {"profileType": "Duns", "id": ""}]),
                (10, [{"profileType": "Duns", "id": str(500_000_000 + index)}]),
                (15, []),
                (12, {}),
                (6, None),
                (2, [{"profileType": "External", "id": f"https://www.{company.domain}/"}]),
            )
        )
        return {
            "name": name,
            "address": {
                "addressLine1": f"{1 + index % 180} Örnek Cd.",
                "addressLine2": "",
                "city": "" if in_region else company.city,
                "state": None if in_region else "",
                "postalCode": "" if in_region else company.postal_code,
                "country": "TR",
                "region": company.city if in_region else None,
            },
            "size": company.size,
            "team": _contacts(company, draw),
            "ids": ids,
        }

    def _invitation(self, kind: Kind, draw: Draw) -> Payload | None:
        match kind:
            case Kind.MARKETPLACE if draw.chance(40):
                return None
            case Kind.COSELL_OWN | Kind.COSELL_MICROSOFT:
                code, organization, name = draw.pick(VOCABULARY["assistance"]), self.organization, _OWN_NAME
            case _:
                code, organization, name = "Unknown", MICROSOFT, "Microsoft"
        return {
            "notes": None,
            "assistanceRequestCode": code,
            "invitedBy": {"organizationId": organization, "organizationName": name},
        }


def _company_index(draw: Draw, count: int) -> int:
    """Draw a company index. Low ones are more frequent, so that some customers have many referrals."""
    return min(draw.below(count), draw.below(count))


def _truncate(ticks: int, digits: int) -> int:
    """Round ticks down to that many fraction digits."""
    step: int = 10 ** (7 - digits)
    return ticks // step * step


def _render_or_none(ticks: int | None) -> str | None:
    return None if ticks is None else render_ticks(ticks)


def _classification(kind: Kind, draw: Draw) -> Mapping[str, str]:
    match kind:
        case Kind.LEAD:
            pair = "Independent", draw.pick(("SalesQualified", "MarketingQualified"))
        case Kind.MARKETPLACE:
            pair = "Independent", "Direct"
        case Kind.ODD:
            pair = "Independent", draw.pick(("None", "PartnerQualified"))
        case _:
            pair = draw.pick(("Shared", "Independent")), draw.pick(("SalesQualified", "None"))
    return {"qualification": pair[1], "type": pair[0]}


def _links(referral_id: str, engagement_id: str, path: str) -> Payload:
    """Return links as Microsoft prints them, sometimes with a misspelt path (section 2, quirk 4)."""
    base = f"{_API}/{path}/referrals"
    return {
        "relatedReferrals": {"uri": f"{base}?$filter=engagementId eq '{engagement_id}'", "method": "GET"},
        "self": {"uri": f"{base}/{referral_id}", "method": "GET"},
    }


def _target(kind: Kind, location: str) -> Payload:
    match kind:
        case Kind.COSELL_OWN:
            return {"type": "SolutionProfile", "id": "SOL-00000-AAA"}
        case Kind.COSELL_MICROSOFT:
            return {"type": "BusinessProfileLocation", "id": MICROSOFT}
        case _:
            return {"type": "BusinessProfileLocation", "id": location}


def _person(draw: Draw, email: str | None) -> Payload:
    preference: object = draw.weighted(
        (
            (60, {"locale": None, "disableNotifications": None}),
            (30, {"locale": "tr-tr", "disableNotifications": False}),
            (10, None),
        )
    )
    return {
        "contactPreference": preference,
        "firstName": draw.pick(VOCABULARY["first_names"]),
        "lastName": draw.pick(VOCABULARY["last_names"]),
        "phoneNumber": draw.pick(("+90 000 000 0000", "0 (212) 000 00 00", "05000000000", "", "dahili 12")),
        "email": email,
    }


def _team_member(draw: Draw, kind: Kind) -> Payload:
    """Draw a member of the partner's or Microsoft's team, sometimes the account that signs in."""
    person = _person(draw, None)
    mailbox = f"{ascii_slug(person['firstName'])}.{ascii_slug(person['lastName'])}"
    if kind is Kind.COSELL_MICROSOFT:
        person["email"] = f"{mailbox}@microsoft.com"
    else:
        person["email"] = f"{'entegrasyon' if draw.chance(20) else mailbox}@ornekpartner.com.tr"
    return person


def _contacts(company: Company, draw: Draw) -> list[Payload]:
    """Draw the customer's contacts. One referral in three has an address at their domain (section 7, item 6)."""
    source = draw.weighted(
        ((30, "company"), (4, "second"), (42, "consumer"), (9, "nobody"), (6, "bad"), (4, "tenant"), (5, "other"))
    )
    if source == "nobody":
        return []
    person = _person(draw, None)
    mailbox = f"{ascii_slug(person['firstName'])}.{ascii_slug(person['lastName'])}"
    match source:
        case "company":
            host = draw.weighted(
                (
                    (80, company.domain),
                    (8, company.unicode_domain),
                    (6, company.domain.upper()),
                    (6, f"mail.{company.domain}"),
                )
            )
            person["email"] = f"{mailbox}@{host}"
        case "tenant":
            person["email"] = f"{mailbox}@{company.tenant_name}.onmicrosoft.com"
        case "bad":
            person["email"] = draw.pick(VOCABULARY["bad_emails"])
        case "other":
            person["email"] = f"{mailbox}@{draw.pick(VOCABULARY['other_domains'])}"
        case _:
            person["email"] = f"{mailbox}{draw.below(90)}@{draw.pick(VOCABULARY['consumer_domains'])}"
    if source == "second":
        return [person, _person(draw, f"bilgi@{company.domain}")]
    return [person]


def shifted_samples(year_start: int, anchor: int, count: int) -> list[Payload]:
    """Return the first `count` samples with their instants shifted to between `year_start` and `anchor` (ticks).

    All else is unchanged: `ids` as {}, rows without an eTag, `engagments` in the links. Only a sample with the id of an
    earlier one gets a new id.
    """
    rows = samples()[:count]
    seen: set[str] = set()
    for at, row in enumerate(rows):
        updated = parse_ticks(row["updatedDateTime"])
        if row["status"] == "New":
            target = anchor - (at + 2) * DAY  # before it expires
        else:
            target = year_start + (anchor - year_start) * (at + 1) // (len(rows) + 1)
        shift = (target - updated) // DAY * DAY
        for field in ("createdDateTime", "updatedDateTime", "expirationDateTime"):
            if row.get(field):
                row[field] = render_ticks(parse_ticks(row[field]) + shift)
        if row["id"] in seen:
            row["id"] = guid("sample", row["id"], at)
        seen.add(row["id"])
        if "eTag" in row:
            row["eTag"] = etag(row["id"], updated + shift)
        row.pop("@odata.context", None)
    return rows
