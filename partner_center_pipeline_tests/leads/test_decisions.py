"""What a decision means for a lead's domain, as a rule over plain data."""

from typing import Any

import pytest

from partner_center_pipeline.leads import read_lead
from partner_center_pipeline.leads.customer_domain import DomainReason, read_domain
from partner_center_pipeline.leads.decisions import DECIDED, DomainDecisions, counts_as, decided
from partner_center_pipeline.leads.suggestions import MatchReason, group_of

OWN = frozenset({"partner.com.tr"})


def made(email: str | None, **decisions: Any) -> tuple[str | None, str | None, str | None]:
    """Domain, source and reason of the lead r1 whose contact has this address."""
    facts = read_lead({"customerProfile": {"name": "Firma", "team": [{"email": email}]}}, OWN)
    lead = decided("r1", facts, DomainDecisions(**decisions), OWN)
    return lead.domain, lead.domain_source, lead.domain_reason


FOUND = "customerProfile.team[0].email"


@pytest.mark.parametrize(
    ("email", "decisions", "expected"),
    [
        ("a@a.com", {}, ("a.com", FOUND, None)),
        ("a@a.com", {"by_hand": {"r2": "b.com"}}, ("a.com", FOUND, None)),
        ("a@a.com", {"by_hand": {"r1": "b.com"}}, ("b.com", DECIDED, None)),
        ("a@a.com", {"by_hand": {"r1": None}}, (None, None, DomainReason.REFUSED_BY_HAND)),
        ("a@gmail.com", {"accepted": {"r1": "b.com"}}, ("b.com", DECIDED, None)),
        ("a@gmail.com", {"accepted": {"r1": "b.com"}, "by_hand": {"r1": "c.com"}}, ("c.com", DECIDED, None)),
        ("a@gmail.com", {"accepted": {"r1": "b.com"}, "by_hand": {"r1": None}}, (None, None, "refused_by_hand")),
        ("a@a.com", {"merged": {"a.com": "b.com"}}, ("b.com", FOUND, None)),
        ("a@a.com", {"merged": {"a.com": "b.com", "b.com": "c.com"}}, ("c.com", FOUND, None)),
        ("a@a.com", {"by_hand": {"r1": "b.com"}, "merged": {"b.com": "c.com"}}, ("c.com", DECIDED, None)),
        ("a@a.com", {"by_hand": {"r1": "partner.com.tr"}}, (None, None, DomainReason.OWN_DOMAIN)),
        ("a@a.com", {"merged": {"a.com": "partner.com.tr"}}, (None, None, DomainReason.OWN_DOMAIN)),
    ],
)
def test_by_hand_goes_before_a_match_before_the_referral_and_the_partners_own_is_nobodys(
    email: str, decisions: dict[str, Any], expected: tuple[str | None, ...]
) -> None:
    assert made(email, **decisions) == expected


def test_a_circle_of_merged_companies_ends() -> None:
    circle = {"a.com": "b.com", "b.com": "c.com", "c.com": "a.com"}
    assert {counts_as(domain, circle) for domain in circle} <= set(circle)
    assert counts_as("other.com", circle) == "other.com"


@pytest.mark.parametrize(
    ("given", "domain"),
    [
        ("https://www.Çelik.com.tr/x", "xn--elik-zoa.com.tr"),
        ("info@firma.com", "firma.com"),
        ("partner.com.tr", DomainReason.OWN_DOMAIN),
        ("mail.partner.com.tr", DomainReason.OWN_DOMAIN),
        ("a@gmail.com", DomainReason.CONSUMER_ONLY),
        ("x.onmicrosoft.com", DomainReason.TENANT_ONLY),
        ("no domain", DomainReason.INVALID),
        ("", DomainReason.INVALID),
    ],
)
def test_a_domain_that_a_person_names_is_read_or_refused_with_the_reason(given: str, domain: str) -> None:
    assert read_domain(given, OWN) == domain


def test_a_group_is_the_same_in_either_order_and_another_for_another_reason() -> None:
    group = group_of(MatchReason.SIMILAR_NAME, "karaca zuccaciye", "karaca zucaciye")
    assert group == group_of(MatchReason.SIMILAR_NAME, "karaca zucaciye", "karaca zuccaciye")
    assert group != group_of(MatchReason.SAME_NAME, "karaca zucaciye", "karaca zuccaciye")
    assert group != group_of(MatchReason.SIMILAR_NAME, "karaca", "karaca zucaciye")
