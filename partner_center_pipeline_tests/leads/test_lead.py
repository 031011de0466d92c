"""partner_center_api.md, section 3: what a referral says becomes a lead, and no shape of JSON stops it."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from partner_center_pipeline.leads import LeadFacts, read_lead
from partner_center_pipeline.leads.category import CategoryRule, ReferralCategory
from partner_center_pipeline.leads.customer_domain import DomainReason
from partner_center_pipeline.leads.domains import find_hosts
from partner_center_pipeline.leads.lead import LARGEST_DEAL, deal_value, is_email_address
from partner_center_pipeline_tests.leads.strategies import any_text, json_values, payloads, texts

SAMPLES = Path(__file__).parent.parent / "data" / "referral_samples"
NOBODY: frozenset[str] = frozenset()


def _samples() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(SAMPLES.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for index, payload in enumerate(content.get("value", [content])):
            yield f"{path.stem}[{index}]", payload


def _sample(name: str) -> LeadFacts:
    return read_lead(dict(_samples())[name], NOBODY)


def test_a_documented_referral_is_read_in_full() -> None:
    assert _sample("single_referral[0]") == LeadFacts(
        engagement_id="b1c40bb4-6d36-4eca-baa3-e1460cf2a454",
        organization_id="7d23e5ca-19dc-4eaa-aac8-5e6b559f0d1d",
        name=None,
        category=ReferralCategory.SOLUTION_PROVIDER,
        category_rule=CategoryRule.QUALIFIED_BY_MICROSOFT,
        type="Independent",
        qualification="SalesQualified",
        direction=None,
        status="New",
        substatus="Pending",
        is_open=True,
        company_name="Contoso Customer Inc",
        company_name_original="Contoso Customer Inc",
        company_name_key="contoso customer",
        company_name_block="cont",
        domain=None,
        host=None,
        domain_source=None,
        domain_reason=DomainReason.MICROSOFT,  # the companies of Microsoft's samples are Microsoft's
        tenant=None,
        tenant_source=None,
        contact_name="Sue Smith",
        contact_email="sue.smith@contoso.com",
        contact_phone="1234567890",
        country="US",
        city="Redmond",
        company_size="10to50employees",
        created_text="2018-10-29T21:24:52.040469Z",
        expires_text="2018-11-06T00:00:00Z",
        closed_text=None,
        deal_value=Decimal(50000),
        currency="USD",
        products=("Dynamics365Enterprise",),
        notes=(
            "Customer is looking to leverage Dynamics 365 to manage their supply chain. There is also a need to "
            "leverage a set of custom apps to enable their business processes."
        ),
    )


@pytest.mark.parametrize(
    ("name", "category", "is_open", "contact", "deal"),
    [
        ("created_referral[0]", ReferralCategory.CO_SELL, True, "sue.smith@contoso.com", Decimal(50000)),
        ("list_page[0]", ReferralCategory.MARKETPLACE, True, "sue.smith@fabrikam.com", None),
        ("list_page[1]", ReferralCategory.SOLUTION_PROVIDER, True, "sue.smith@contoso.com", Decimal(50000)),
        ("single_referral[0]", ReferralCategory.SOLUTION_PROVIDER, True, "sue.smith@contoso.com", Decimal(50000)),
        ("updated_referral[0]", ReferralCategory.SOLUTION_PROVIDER, False, "sue.smith@contoso.com", Decimal(50000)),
    ],
)
def test_every_documented_referral_becomes_a_lead(
    name: str, category: ReferralCategory, is_open: bool, contact: str, deal: Decimal | None
) -> None:
    lead = _sample(name)
    assert (lead.category, lead.is_open, lead.contact_email, lead.deal_value) == (category, is_open, contact, deal)


def test_the_worst_documented_referral_becomes_a_lead_without_a_domain() -> None:
    lead = read_lead(
        {
            "type": "Independent",
            "direction": "Incoming",
            "qualification": "Direct",
            "status": "Closed",
            "substatus": "Expired",
            "closedDateTime": "2025-05-01T00:03:12Z",
            "customerProfile": {
                "name": "R&amp;B Danismanlik",
                "address": {"addressLine1": "", "city": "", "state": None, "country": "TR", "region": "Ankara"},
                "size": None,
                "team": [{"firstName": "A", "lastName": "B", "phoneNumber": "", "email": "sample.person@gmail.com"}],
                "ids": [],
            },
            "details": {"notes": None, "dealValue": None, "currency": None, "requirements": {"products": []}},
            "inviteContext": None,
        },
        NOBODY,
    )
    assert (lead.domain, lead.domain_reason) == (None, DomainReason.CONSUMER_ONLY)
    assert (lead.company_name, lead.company_name_original) == ("R&B Danismanlik", "R&amp;B Danismanlik")
    assert (lead.category, lead.is_open, lead.closed_text) == ("marketplace", False, "2025-05-01T00:03:12Z")
    assert (lead.contact_name, lead.contact_email, lead.contact_phone) == ("A B", "sample.person@gmail.com", None)
    assert (lead.country, lead.city, lead.deal_value, lead.products) == ("TR", None, None, ())


def test_the_partners_own_domain_is_not_the_customers() -> None:
    payload = dict(_samples())["single_referral[0]"]
    lead = read_lead(payload, frozenset({"CONTOSO.com"}))
    assert (lead.domain, lead.domain_reason) == (None, DomainReason.OWN_DOMAIN)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (50000, "50000"), (48000.5, "48000.5"), ("10000", "10000"), (" 10000.25 ", "10000.25"), ("1e3", "1000"),
        (0, "0"), (-5, "-5"), (0.1, "0.1"), (1.23456789, "1.2346"), ("1e-300", "0"),
        (float("nan"), None), (float("inf"), None), (float("-inf"), None), ("NaN", None), ("Infinity", None),
        ("-9999999999999.99", "-9999999999999.99"), (10**13, None), ("-1e13", None),
        (True, None), (False, None), (None, None), ("", None), ("10,000", None), ("1_000", None), ("١٢", None),
        ("on bin", None), ([], None), ({}, None), (10**400, None), (1e300, None), ("1e999", None),
    ],
)  # fmt: skip
def test_a_deal_value_is_a_number_or_missing(value: object, expected: str | None) -> None:
    lead = read_lead({"details": {"dealValue": value, "currency": "try"}}, NOBODY)
    assert lead.deal_value == (None if expected is None else Decimal(expected))
    assert lead.currency == "TRY"


@given(st.decimals(-LARGEST_DEAL, LARGEST_DEAL, places=2).filter(lambda amount: abs(amount) < LARGEST_DEAL))
def test_sqlite_keeps_the_cents_of_every_deal_value(amount: Decimal) -> None:
    assert deal_value(str(amount)) == amount
    with closing(sqlite3.connect(":memory:")) as database:
        (kept,) = database.execute("SELECT CAST(? AS REAL)", [float(amount)]).fetchone()
    assert Decimal(str(kept)).quantize(Decimal("0.01")) == amount


def test_the_contact_is_the_first_one_that_can_be_reached() -> None:
    nobody = {"firstName": "Ali", "email": "yok", "phoneNumber": " "}
    phone = {"firstName": "Can", "lastName": "Ã–z", "email": "can@", "phoneNumber": "+90 312 000 00 00"}
    mail = {"lastName": "Işık", "email": "Veli Işık <veli@firma.com.tr>; v@gmail.com"}

    def contact(*team: object) -> tuple[str | None, str | None, str | None]:
        lead = read_lead({"customerProfile": {"team": list(team)}}, NOBODY)
        return lead.contact_name, lead.contact_email, lead.contact_phone

    assert contact(nobody, phone, mail) == ("Işık", "veli@firma.com.tr", None)
    assert contact(nobody, phone) == ("Can Öz", None, "+90 312 000 00 00")
    assert contact(nobody, "Ali", None) == ("Ali", None, None)
    assert contact() == (None, None, None)


def test_texts_are_repaired_and_codes_upper_case() -> None:
    lead = read_lead(
        {
            "name": "Lead &amp; Ã–zel",
            "customerProfile": {"address": {"city": " Ä°stanbul ", "country": "tr"}},
            "details": {"notes": "Ã–nce posta,\n sonra Teams &gt; &lt;b&gt;"},
        },
        NOBODY,
    )
    assert (lead.name, lead.city, lead.country) == ("Lead & Özel", "İstanbul", "TR")
    assert lead.notes == "Önce posta,\n sonra Teams > <b>"


@pytest.mark.parametrize(
    ("status", "is_open"),
    [
        ("New", True),
        ("Active", True),
        ("Closed", False),
        ("closed", False),
        (None, True),
        (["Closed"], True),
        ("Later", True),
    ],
)
def test_a_lead_is_open_until_it_is_closed(status: object, is_open: bool) -> None:
    assert read_lead({"status": status}, NOBODY).is_open is is_open


def test_products_are_listed_once_in_their_order() -> None:
    products = [{"id": "Teams"}, {"id": "Azure"}, {"id": "Teams"}, {"id": None}, {}, "Visio", {"id": " "}]
    lead = read_lead({"details": {"requirements": {"products": products}}}, NOBODY)
    assert lead.products == ("Teams", "Azure")


@pytest.mark.parametrize("ids", [None, [], {}, "x", [None], [[]], {"External": "x"}])
@pytest.mark.parametrize("team", [None, {}, {"email": "a@firma.com"}, "x", [None, "x", []]])
def test_the_shapes_of_ids_and_team_do_not_matter(ids: object, team: object) -> None:
    lead = read_lead({"customerProfile": {"name": "Firma", "ids": ids, "team": team}}, NOBODY)
    assert (lead.company_name, lead.domain_reason) == ("Firma", DomainReason.NO_EMAIL)


@pytest.mark.slow
@given(payloads)
def test_no_json_stops_a_lead_from_being_read(payload: dict[str, Any]) -> None:
    lead = read_lead(payload, frozenset({"firma.com.tr"}))
    domain_facts = (lead.domain, lead.host, lead.domain_source)
    assert {fact is None for fact in domain_facts} == {lead.domain_reason is not None}
    assert lead.domain != "firma.com.tr"
    assert (lead.tenant is None) == (lead.tenant_source is None)
    assert (lead.category is ReferralCategory.UNKNOWN) == (lead.category_rule is CategoryRule.NO_RULE)
    assert lead.deal_value is None or abs(lead.deal_value) < LARGEST_DEAL


@pytest.mark.slow
@given(payloads)
def test_every_lead_says_which_field_gave_its_domain_or_why_none_did(payload: dict[str, Any]) -> None:
    lead = read_lead(payload, NOBODY)
    assert (lead.domain_source is None) == (lead.domain_reason is not None) == (lead.domain is None)
    if lead.domain_source is not None:
        field: Any = payload
        for key in re.findall(r"\w+", lead.domain_source):
            field = field[int(key) if isinstance(field, list) else key]
        assert (lead.host, lead.domain) in {(host.name, host.domain) for host in find_hosts(field)}


@pytest.mark.slow
@given(st.sampled_from([name for name, _ in _samples()]), st.data())
def test_a_wrong_type_anywhere_in_a_real_referral_reads_as_missing(name: str, data: st.DataObject) -> None:
    payload = json.loads(json.dumps(dict(_samples())[name]))
    place: Any = payload
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if place[key] and isinstance(place[key], dict | list) and data.draw(st.booleans()):
            place = place[key]
        else:
            break
    place[key] = data.draw(json_values)
    read_lead(payload, NOBODY)


_HOSTS = ("firma.com.tr", "FIRMA.COM", "çelik.com.tr", "a..b", "-a.com", "a-.com", "localhost", "x.test", "x.invalid",
          "1.2", "ab--c.com", "xn--a.com", "a.b.", f"{'a' * 64}.com", f"{'a.' * 130}com", "[1.2.3.4]", "")  # fmt: skip
_LOCALS = st.one_of(
    st.text("aZ0._-+'!ç @\"", max_size=8), st.sampled_from(("ali.veli", "a..b", ".a", "a.", "a" * 65, "a" * 250))
)


@given(st.one_of(st.builds("{}@{}".format, _LOCALS, st.sampled_from(_HOSTS)), texts, any_text))
@example("postmaster@firma.com.tr")
@example(f"{'a' * 241}@firma.com.tr")
@example(f"{'a' * 242}@firma.com.tr")
def test_an_address_is_one_where_email_validator_says_so(text: str) -> None:
    try:
        validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        assert not is_email_address(text)
    else:
        assert is_email_address(text)
