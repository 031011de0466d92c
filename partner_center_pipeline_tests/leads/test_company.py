"""identity.md, "Company names"; scoring.md, section 5: a company out of its leads, the newest first."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.leads import read_lead
from partner_center_pipeline.leads.category import ReferralCategory
from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.leads.suggestions import name_block
from partner_center_pipeline.vocabulary import TenantSource
from partner_center_pipeline.warehouse.schema import columns_of, companies

DOMAIN = "xn--nkoullar-m4a76h.com.tr"
ANONYMOUS = {"company_name": None, "company_name_key": None}


def _lead(referral_id: str = "r1", **values: Any) -> dict[str, Any]:
    """A row of table `leads`, as far as companies are made from it: open, with nothing to say."""
    return {
        "referral_id": referral_id, "engagement_id": None, "category": ReferralCategory.MARKETPLACE, "is_open": True,
        **ANONYMOUS, "country": None, "city": None, "tenant": None, "tenant_source": None, "expires_ticks": None,
        "deal_value": None, "currency": None, "updated_ticks": 0, **values,
    }  # fmt: skip


def _named(referral_id: str, name: str, **values: Any) -> dict[str, Any]:
    facts = read_lead({"customerProfile": {"name": name}}, frozenset())
    return _lead(referral_id, company_name=facts.company_name, company_name_key=facts.company_name_key, **values)


def _company(*leads: dict[str, Any]) -> dict[str, Any]:
    return company_of(DOMAIN, leads)


def test_a_company_fills_every_column_of_its_table() -> None:
    assert set(_company(_lead())) == set(columns_of(companies)) - {"derived_with"}  # which the writer adds


def test_a_company_carries_every_form_of_its_domain() -> None:
    company = _company(_lead())
    assert (company["domain"], company["domain_unicode"], company["domain_ascii_key"]) == (
        DOMAIN,
        "önkoşullar.com.tr",
        "onkosullar.com.tr",
    )


def test_a_newer_referrals_name_overwrites_an_older_ones() -> None:
    company = _company(_named("new", "Önkoşullar A.Ş."), _named("old", "Eski Ad Ltd. Şti."))
    assert (company["name"], company["name_key"]) == ("Önkoşullar A.Ş.", "onkosullar")
    assert company["name_block"] == name_block("onkosullar") is not None


@pytest.mark.parametrize("blank", ["", " ", "\u200b"])
def test_a_newer_referral_without_a_name_leaves_the_older_name(blank: str) -> None:
    company = _company(_named("new", blank), _named("old", "Önkoşullar A.Ş."))
    assert (company["name"], company["name_key"]) == ("Önkoşullar A.Ş.", "onkosullar")


def test_a_name_without_a_comparison_key_is_still_the_name() -> None:
    company = _company(_named("new", "***"), _named("old", "Önkoşullar"))
    assert (company["name"], company["name_key"], company["name_block"]) == ("***", None, None)


def test_a_company_that_nobody_named_has_no_name() -> None:
    company = _company(_lead())
    assert (company["name"], company["name_key"], company["name_block"]) == (None, None, None)


def test_country_and_city_are_the_newest_known() -> None:
    company = _company(_lead("r3"), _lead("r2", city="İzmir"), _lead("r1", city="Ankara", country="TR"))
    assert (company["country"], company["city"]) == ("TR", "İzmir")


def test_closed_referrals_count_but_not_as_open() -> None:
    company = _company(_lead("r1"), _lead("r2", is_open=False), _lead("r3"))
    assert (company["referrals"], company["open_referrals"], company["engagements"]) == (3, 2, 3)
    assert company["referral_ids"] == ["r1", "r2", "r3"]


def test_the_two_referrals_of_a_co_sell_deal_count_once() -> None:
    sides = [
        _lead(side, engagement_id="e1", category=ReferralCategory.CO_SELL, deal_value=Decimal(500), currency="TRY")
        for side in ("own", "microsofts")
    ]
    company = _company(*sides, _lead("other"))
    assert (company["referrals"], company["open_referrals"], company["engagements"]) == (3, 3, 2)
    assert company["deal_value"] == Decimal(500)


def test_an_open_co_sell_is_told_with_its_newest_referral() -> None:
    closed = _lead("r3", category=ReferralCategory.CO_SELL, is_open=False)
    company = _company(closed, _lead("r2", category="co-sell"), _lead("r1", category=ReferralCategory.CO_SELL))
    assert (company["open_cosell"], company["cosell_referral"]) == (True, "r2")
    company = _company(closed, _lead("r2"))
    assert (company["open_cosell"], company["cosell_referral"]) == (False, None)


RATES = {"TRY": Decimal(1), "USD": Decimal(40), "EUR": Decimal(50)}


def _deal(*leads: dict[str, Any], rates: Mapping[str, Decimal] = RATES) -> tuple[Decimal | None, str | None]:
    company = company_of(DOMAIN, leads, rates)
    return company["deal_value"], company["currency"]


def test_the_largest_deal_is_chosen_by_its_worth_and_shown_in_its_own_currency() -> None:
    leads = (
        _lead("r1", deal_value=Decimal(1000), currency="TRY"),
        _lead("r2", deal_value=Decimal(900), currency="EUR", is_open=False),
        _lead("r3", deal_value=Decimal("25.01"), currency="USD"),
        _lead("r4"),
    )
    assert _deal(*leads) == (Decimal("25.01"), "USD")
    assert _deal(*leads, rates={"TRY": Decimal(1), "USD": Decimal(39)}) == (Decimal(1000), "TRY")


def test_a_deal_in_an_unknown_currency_never_beats_one_whose_worth_is_known() -> None:
    known, unknown = _lead("r1", deal_value=Decimal(1), currency="TRY"), {"deal_value": Decimal(9_000_000)}
    assert _deal(_lead("r2", **unknown, currency="XYZ"), known) == (Decimal(1), "TRY")
    assert _deal(_lead("r2", **unknown), known) == (Decimal(1), "TRY")


def test_of_deals_whose_worth_is_unknown_the_newest_is_shown() -> None:
    newer = _lead("r1", deal_value=Decimal(1), currency="XYZ", updated_ticks=2)
    older = _lead("r2", deal_value=Decimal(2), currency="ABC", updated_ticks=1)
    assert _deal(newer, older) == (Decimal(1), "XYZ")
    assert _deal(newer, {**older, "currency": "XYZ"}) == (Decimal(2), "XYZ")  # one currency compares with itself


def test_a_deal_of_nothing_is_a_value_and_none_is_not() -> None:
    assert _company(_lead("r1"), _lead("r2", deal_value=Decimal(0), currency="TRY"))["deal_value"] == 0
    assert _company(_lead("r1", currency="TRY"))["currency"] is None


def test_a_tenant_in_a_payload_is_stronger_than_a_contacts_address() -> None:
    address = {"tenant": "onkosullar.onmicrosoft.com", "tenant_source": TenantSource.EMAIL_DOMAIN}
    payload = {"tenant": "0af7f1c5-1da0-4a0c-9a2b-0c1f6f6f0001", "tenant_source": TenantSource.PAYLOAD}
    company = _company(_lead("r3"), _lead("r2", **address), _lead("r1", **payload, is_open=False))
    assert (company["tenant"], company["tenant_source"]) == tuple(payload.values())
    company = _company(_lead("r3", **{**address, "tenant": "yeni.onmicrosoft.com"}), _lead("r2", **address))
    assert company["tenant"] == "yeni.onmicrosoft.com"


def test_every_source_of_a_tenant_has_its_strength() -> None:
    leads = [_lead(source, tenant=source.value, tenant_source=source) for source in reversed(TenantSource)]
    while leads:
        strongest = list(TenantSource)[-len(leads)]
        assert _company(*leads)["tenant_source"] == strongest
        leads = [lead for lead in leads if lead["tenant_source"] != strongest]


def test_the_next_expiry_is_the_first_of_an_open_referral() -> None:
    leads = [_lead("r1", expires_ticks=30), _lead("r2", expires_ticks=20), _lead("r3")]
    assert _company(*leads, _lead("r4", expires_ticks=10, is_open=False))["next_expiry_ticks"] == 20
    assert _company(_lead("r4", expires_ticks=10, is_open=False))["next_expiry_ticks"] is None


def test_a_company_that_no_lead_names_any_more_has_no_referrals() -> None:
    company = _company()
    assert {name: value for name, value in company.items() if value} == {
        "domain": DOMAIN,
        "domain_unicode": "önkoşullar.com.tr",
        "domain_ascii_key": "onkosullar.com.tr",
    }
    assert (company["referrals"], company["open_referrals"], company["engagements"]) == (0, 0, 0)
    assert (company["referral_ids"], company["updated_ticks"], company["open_cosell"]) == ([], 0, False)


@st.composite
def _histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Leads of one company, the newest first."""

    def maybe(values: Sequence[Any]) -> Any:
        return draw(st.sampled_from([None, *values]))

    return [
        _lead(
            f"r{ticks}",
            updated_ticks=ticks,
            company_name=maybe(["A", "B", "C"]),
            engagement_id=maybe(["e1", "e2"]),
            category=draw(st.sampled_from(ReferralCategory)),
            is_open=draw(st.booleans()),
            deal_value=maybe([Decimal(1), Decimal("1.5"), Decimal(2)]),
            currency=maybe(["TRY", "USD", "XYZ"]),
            expires_ticks=maybe([1, 2, 3]),
        )
        for ticks in range(draw(st.integers(0, 6)), 0, -1)
    ]


@given(_histories())
def test_the_name_is_that_of_the_newest_referral_that_has_one(leads: list[dict[str, Any]]) -> None:
    named = {lead["updated_ticks"]: lead["company_name"] for lead in leads if lead["company_name"]}
    assert _company(*leads)["name"] == (named[max(named)] if named else None)


@given(_histories(), st.randoms(use_true_random=False))
def test_what_is_counted_does_not_depend_on_the_order(leads: list[dict[str, Any]], chance: Random) -> None:
    counted = ("referrals", "open_referrals", "engagements", "open_cosell", "next_expiry_ticks", "deal_value",
               "currency", "updated_ticks")  # fmt: skip
    shuffled = chance.sample(leads, len(leads))
    one, other = _company(*leads), _company(*shuffled)
    assert {name: one[name] for name in counted} == {name: other[name] for name in counted}
