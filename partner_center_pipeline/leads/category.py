"""What kind of lead a referral is: identity.md, "Referral category", one rule per line of its table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from partner_center_pipeline.leads.payload import at, text


class ReferralCategory(StrEnum):
    """The derived kind of a referral; the API itself has only `type`."""

    MARKETPLACE = "marketplace"
    SOLUTION_PROVIDER = "solution-provider"
    CO_SELL = "co-sell"
    UNKNOWN = "unknown"


class CategoryRule(StrEnum):
    """The rule that gave a category, stored beside it."""

    DIRECT_FROM_MICROSOFT = "direct_from_microsoft"
    """Independent, Direct, invited by msft or without an inviter: marketplace."""
    QUALIFIED_BY_MICROSOFT = "qualified_by_microsoft"
    """Independent, SalesQualified or MarketingQualified, invited by msft: solution-provider."""
    INVITED_BY_PARTNER = "invited_by_partner"
    """Independent or Shared, SalesQualified or None, invited by itself or by another partner: co-sell."""
    SHARED = "shared"
    """Any other Shared: co-sell."""
    NAMED_TYPE = "named_type"
    """A free-text `type` that names a category, e.g. Co-Sell."""
    NO_RULE = "no_rule"
    """All else: unknown."""


@dataclass(frozen=True, slots=True)
class CategoryFinding:
    """A category and the rule that gave it."""

    category: ReferralCategory
    rule: CategoryRule


_MICROSOFT: Final = "msft"
_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NOT_A_LETTER: Final = re.compile(r"[^a-z]")
_NAMED_TYPES: Final = {
    "cosell": ReferralCategory.CO_SELL,
    "cosellopportunity": ReferralCategory.CO_SELL,
    "marketplace": ReferralCategory.MARKETPLACE,
    "marketplacelead": ReferralCategory.MARKETPLACE,
    "solutionprovider": ReferralCategory.SOLUTION_PROVIDER,
    "qualifiedlead": ReferralCategory.SOLUTION_PROVIDER,
}


def categorize(payload: Mapping[str, object]) -> CategoryFinding:
    """Return the category of a referral by the first rule that fits. Never raises.

    Values are compared without case. A missing `qualification` is the API's `None`.
    """
    kind = _lower(payload.get("type"))
    qualification = _lower(payload.get("qualification")) or "none"
    inviter = _lower(at(payload, "inviteContext", "invitedBy", "organizationId"))
    own = _lower(payload.get("organizationId"))
    by_partner = inviter not in ("", _MICROSOFT) and (inviter == own or bool(_GUID.fullmatch(inviter)))

    if kind == "independent" and qualification == "direct" and inviter in ("", _MICROSOFT):
        return CategoryFinding(ReferralCategory.MARKETPLACE, CategoryRule.DIRECT_FROM_MICROSOFT)
    if kind == "independent" and qualification in ("salesqualified", "marketingqualified") and inviter == _MICROSOFT:
        return CategoryFinding(ReferralCategory.SOLUTION_PROVIDER, CategoryRule.QUALIFIED_BY_MICROSOFT)
    if kind in ("independent", "shared") and qualification in ("salesqualified", "none") and by_partner:
        return CategoryFinding(ReferralCategory.CO_SELL, CategoryRule.INVITED_BY_PARTNER)
    if kind == "shared":
        return CategoryFinding(ReferralCategory.CO_SELL, CategoryRule.SHARED)
    named = _NAMED_TYPES.get(_NOT_A_LETTER.sub("", kind))
    if named is not None:
        return CategoryFinding(named, CategoryRule.NAMED_TYPE)
    return CategoryFinding(ReferralCategory.UNKNOWN, CategoryRule.NO_RULE)


def _lower(value: object) -> str:
    return (text(value) or "").lower()
