"""identity.md, "Referral category": the table, line by line."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.leads.category import CategoryRule, ReferralCategory, categorize
from partner_center_pipeline_tests.leads.strategies import payloads

OWN = "2f0b9d4a-77aa-4e52-b7a6-9f3c6d2e0001"
OTHER = "7d23e5ca-19dc-4eaa-aac8-5e6b559f0d1d"

MARKETPLACE = (ReferralCategory.MARKETPLACE, CategoryRule.DIRECT_FROM_MICROSOFT)
PROVIDER = (ReferralCategory.SOLUTION_PROVIDER, CategoryRule.QUALIFIED_BY_MICROSOFT)
INVITED = (ReferralCategory.CO_SELL, CategoryRule.INVITED_BY_PARTNER)
SHARED = (ReferralCategory.CO_SELL, CategoryRule.SHARED)
UNKNOWN = (ReferralCategory.UNKNOWN, CategoryRule.NO_RULE)


def _found(payload: dict[str, Any]) -> tuple[ReferralCategory, CategoryRule]:
    finding = categorize(payload)
    return finding.category, finding.rule


@pytest.mark.parametrize(
    ("kind", "qualification", "inviter", "expected"),
    [
        ("Independent", "Direct", "msft", MARKETPLACE),
        ("Independent", "Direct", None, MARKETPLACE),
        ("Independent", "Direct", OWN, UNKNOWN),
        ("Independent", "Direct", OTHER, UNKNOWN),
        ("Independent", "SalesQualified", "msft", PROVIDER),
        ("Independent", "MarketingQualified", "msft", PROVIDER),
        ("independent", "marketingqualified", "MSFT", PROVIDER),
        ("Independent", "MarketingQualified", OWN, UNKNOWN),
        ("Independent", "SalesQualified", None, UNKNOWN),
        ("Independent", "SalesQualified", "Acme", UNKNOWN),
        ("Independent", "SalesQualified", OWN, INVITED),
        ("Independent", "SalesQualified", OWN.upper(), INVITED),
        ("Independent", "SalesQualified", OTHER, INVITED),
        ("Independent", "None", OTHER, INVITED),
        ("Independent", None, OTHER, INVITED),
        ("Independent", "None", "msft", UNKNOWN),
        ("Shared", "SalesQualified", OTHER, INVITED),
        ("Shared", "None", OWN, INVITED),
        ("Shared", "SalesQualified", "msft", SHARED),
        ("Shared", "Direct", None, SHARED),
        ("Shared", None, None, SHARED),
        ("Something", "Direct", "msft", UNKNOWN),
        (None, None, None, UNKNOWN),
    ],
)
def test_the_first_line_of_the_table_that_fits_gives_the_category(
    kind: str | None, qualification: str | None, inviter: str | None, expected: object
) -> None:
    payload = {
        "type": kind,
        "qualification": qualification,
        "organizationId": OWN,
        "inviteContext": {"invitedBy": {"organizationId": inviter}},
    }
    assert _found(payload) == expected


def test_an_own_id_that_is_no_guid_is_own() -> None:
    payload = {
        "type": "Independent",
        "qualification": "SalesQualified",
        "organizationId": "acme",
        "inviteContext": {"invitedBy": {"organizationId": "acme"}},
    }
    assert _found(payload) == INVITED


@pytest.mark.parametrize("context", [None, {}, [], {"invitedBy": None}, {"invitedBy": {"organizationId": ""}}])
def test_an_inviter_may_be_absent_in_any_way(context: object) -> None:
    payload = {"type": "Independent", "qualification": "Direct", "inviteContext": context}
    assert _found(payload) == MARKETPLACE
    del payload["inviteContext"]
    assert _found(payload) == MARKETPLACE


@pytest.mark.parametrize(
    ("kind", "category"),
    [
        ("Co-Sell", ReferralCategory.CO_SELL),
        ("CoSell", ReferralCategory.CO_SELL),
        ("co sell", ReferralCategory.CO_SELL),
        ("Marketplace", ReferralCategory.MARKETPLACE),
        ("Solution-Provider", ReferralCategory.SOLUTION_PROVIDER),
    ],
)
def test_a_free_text_type_names_its_category(kind: str, category: ReferralCategory) -> None:
    assert _found({"type": kind}) == (category, CategoryRule.NAMED_TYPE)


@pytest.mark.parametrize(
    ("kind", "qualification", "inviter"),
    list(product(("Independent", "Shared"), ("SalesQualified", "None"), (OWN, OTHER))),
)
def test_what_a_partner_invited_is_a_co_sell(kind: str, qualification: str, inviter: str) -> None:
    payload = {
        "type": kind,
        "qualification": qualification,
        "organizationId": OWN,
        "inviteContext": {"invitedBy": {"organizationId": inviter}},
    }
    assert _found(payload) == INVITED


@pytest.mark.slow
@given(st.sampled_from(["Shared", "shared", " SHARED "]), payloads)
def test_any_shared_referral_is_a_co_sell(kind: str, payload: dict[str, Any]) -> None:
    assert categorize({**payload, "type": kind}).category is ReferralCategory.CO_SELL


@pytest.mark.slow
@given(payloads)
def test_any_payload_has_a_category_and_only_unknown_comes_from_no_rule(payload: dict[str, Any]) -> None:
    category, rule = _found(payload)
    assert (category is ReferralCategory.UNKNOWN) == (rule is CategoryRule.NO_RULE)
