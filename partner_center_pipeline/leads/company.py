"""Making a company of its leads: one per registrable domain (identity.md, "What a company takes from its leads").

Not here: reading a lead from a payload (`lead`), storing (`warehouse`).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from partner_center_pipeline.leads.category import ReferralCategory
from partner_center_pipeline.leads.domains import ascii_key, unicode_domain
from partner_center_pipeline.leads.suggestions import name_block
from partner_center_pipeline.vocabulary import TenantSource

_TENANT_STRENGTH: Final = list(TenantSource)
"""A tenant id in the payload counts before a contact's onmicrosoft.com address."""

LEAD_COLUMNS: Final = (
    "referral_id", "domain", "engagement_id", "category", "is_open", "company_name", "company_name_key", "country",
    "city", "tenant", "tenant_source", "deal_value", "currency", "expires_ticks", "updated_ticks",
)  # fmt: skip
"""The columns of table `leads` that a company is made of."""

NO_RATES: Final[Mapping[str, Decimal]] = {}
"""No rate is known: values in different currencies cannot be compared."""


def company_of(
    domain: str, leads: Sequence[Mapping[str, Any]], rates: Mapping[str, Decimal] = NO_RATES
) -> dict[str, Any]:
    """Make the row of table `companies` for a domain from all its leads (with LEAD_COLUMNS), the newest first.

    The name is that of the newest lead with a name. Open means not closed. The two referrals of a co-sell deal share an
    engagement, which counts once. The deal value is the largest of the open leads by `rates` (`largest_deal`), with its
    currency. A domain without leads gives a company without referrals.
    """
    open_leads = [lead for lead in leads if lead["is_open"]]
    deal = largest_deal(open_leads, rates)
    tenants = [lead for lead in leads if lead["tenant"]]
    tenant = min(tenants, key=lambda lead: _TENANT_STRENGTH.index(lead["tenant_source"]), default=None)
    cosell = next((lead for lead in open_leads if lead["category"] == ReferralCategory.CO_SELL), None)
    named = next((lead for lead in leads if lead["company_name"]), None)
    expiries = [lead["expires_ticks"] for lead in open_leads if lead["expires_ticks"] is not None]
    return {
        "domain": domain,
        "domain_unicode": unicode_domain(domain),
        "domain_ascii_key": ascii_key(domain),
        "name": named and named["company_name"],
        "name_key": named and named["company_name_key"],
        "name_block": name_block(named["company_name_key"]) if named else None,
        "country": next((lead["country"] for lead in leads if lead["country"]), None),
        "city": next((lead["city"] for lead in leads if lead["city"]), None),
        "referrals": len(leads),
        "open_referrals": len(open_leads),
        "engagements": len({lead["engagement_id"] or lead["referral_id"] for lead in leads}),
        "open_cosell": cosell is not None,
        "cosell_referral": cosell and cosell["referral_id"],
        "next_expiry_ticks": min(expiries, default=None),
        "deal_value": deal and deal["deal_value"],
        "currency": deal and deal["currency"],
        "tenant": tenant and tenant["tenant"],
        "tenant_source": tenant and tenant["tenant_source"],
        "referral_ids": [lead["referral_id"] for lead in leads],
        "updated_ticks": max((lead["updated_ticks"] for lead in leads), default=0),
    }


def largest_deal(leads: Sequence[Mapping[str, Any]], rates: Mapping[str, Decimal]) -> Mapping[str, Any] | None:
    """Return the lead with the largest deal value; None where no lead has one.

    Values in different currencies are compared by what they are worth in the reporting currency (`rates`: the worth of
    one unit). A value without a rate ranks below those with one. Where none has a rate, the newest value is taken,
    unless all are in one currency.
    """
    valued = [lead for lead in leads if lead["deal_value"] is not None]
    currencies = {lead["currency"] for lead in valued}
    if len(currencies) == 1 and None not in currencies:
        return max(valued, key=lambda lead: (lead["deal_value"], lead["referral_id"]))
    rated = [lead for lead in valued if lead["currency"] in rates]
    newest = max(valued, key=lambda lead: (lead["updated_ticks"], lead["referral_id"]), default=None)
    return max(
        rated, key=lambda lead: (lead["deal_value"] * rates[lead["currency"]], lead["referral_id"]), default=newest
    )
