"""identity.md, "Where a domain can come from" and "Not a company's domain"; scoring.md, section 4."""

from typing import Any

import pytest

from partner_center_pipeline.leads import normalize_domain
from partner_center_pipeline.leads.customer_domain import DomainFinding, DomainReason, find_domain
from partner_center_pipeline.leads.known_domains import CONSUMER_MAIL, DISPOSABLE_MAIL, RELAY_MAIL
from partner_center_pipeline.vocabulary import TenantSource

OWN = frozenset({"Ortak.com.tr", "ışık.com", "ortak.onmicrosoft.com"})


def _team(*emails: object) -> dict[str, Any]:
    return {"customerProfile": {"team": [{"email": email} for email in emails]}}


def _find(payload: dict[str, Any]) -> DomainFinding:
    return find_domain(payload, OWN)


def test_a_finding_carries_every_form_of_the_domain_and_its_source() -> None:
    assert _find(_team("ali@posta.önkoşullar.com.tr")) == DomainFinding(
        domain="xn--nkoullar-m4a76h.com.tr",
        host="posta.xn--nkoullar-m4a76h.com.tr",
        source="customerProfile.team[0].email",
        reason=None,
        tenant=None,
        tenant_source=None,
    )


def test_the_first_usable_member_gives_the_domain() -> None:
    found = _find(_team(None, "ali@gmail.com", "yok", "veli@firma.com.tr", "can@baska.com"))
    assert (found.domain, found.source) == ("firma.com.tr", "customerProfile.team[3].email")


def test_of_two_addresses_in_one_field_the_usable_one_counts() -> None:
    assert _find(_team("ali@gmail.com; ali@firma.com.tr")).domain == "firma.com.tr"


@pytest.mark.parametrize("parent", [(), ("customerProfile",), ("details",)])
@pytest.mark.parametrize("field", ["website", "companyWebsite"])
def test_a_website_field_gives_the_domain_when_no_contact_does(parent: tuple[str, ...], field: str) -> None:
    payload = _team("ali@gmail.com")
    place = payload
    for key in parent:
        place = place.setdefault(key, {})
    place[field] = "https://www.firma.com.tr/"
    found = _find(payload)
    assert (found.domain, found.source) == ("firma.com.tr", ".".join((*parent, field)))
    payload["customerProfile"]["team"].append({"email": "ali@baska.com"})
    assert _find(payload).domain == "baska.com"


def test_an_e_mail_in_a_website_field_and_the_reverse_are_read() -> None:
    assert _find({"website": "info@firma.com.tr"}).domain == "firma.com.tr"
    assert _find(_team("www.firma.com.tr")).domain == "firma.com.tr"


@pytest.mark.parametrize("value", ["https://firma.com.tr/x", "ali@firma.com.tr", "www.firma.com.tr"])
def test_an_external_id_that_is_an_address_gives_the_domain_last(value: str) -> None:
    ids = [{"profileType": "Duns", "id": "ali@baska.com"}, {"profileType": "External", "id": value}]
    found = _find({"customerProfile": {"ids": ids}})
    assert (found.domain, found.source) == ("firma.com.tr", "customerProfile.ids[1].id")
    found = _find({"customerProfile": {"ids": ids[1]}})
    assert (found.domain, found.source) == ("firma.com.tr", "customerProfile.ids.id")
    assert _find({"customerProfile": {"ids": ids}, "website": "once.com"}).domain == "once.com"


def test_a_contact_with_words_around_the_address_gives_the_domain() -> None:
    assert _find(_team("Ali Veli ali@firma.com.tr")).domain == "firma.com.tr"


def test_an_external_id_that_is_a_customer_number_is_no_address() -> None:
    found = _find({"customerProfile": {"ids": [{"profileType": "External", "id": "CRM.NET"}]}})
    assert (found.domain, found.reason) == (None, DomainReason.NO_EMAIL)


def test_the_top_level_team_never_gives_a_domain() -> None:
    assert _find({"team": [{"email": "john@firma.com.tr"}]}).reason is DomainReason.NO_EMAIL


@pytest.mark.parametrize("email", [
    "gmail.com", "yandex.com.tr", "yandex.ru", "superonline.com", "ttmail.com", "ttnet.net.tr", "turk.net",
    "e-kolay.net", "yaani.com", "superposta.com", "mynet.com", "hotmail.com.tr", "outlook.com.tr", "yahoo.com.tr",
    "windowslive.com", "tutanota.com", "hey.com", "HOTMAIL.COM", "posta.mynet.com", "icloud.com",
])  # fmt: skip
def test_consumer_mail_is_nobodys_company(email: str) -> None:
    assert _find(_team(f"ali@{email}")).reason is DomainReason.CONSUMER_ONLY


@pytest.mark.parametrize(
    ("listed", "reasons"),
    [
        (CONSUMER_MAIL, {DomainReason.CONSUMER_ONLY, DomainReason.DISPOSABLE_ONLY, DomainReason.RELAY_ONLY}),
        (DISPOSABLE_MAIL, {DomainReason.DISPOSABLE_ONLY}),
        (RELAY_MAIL, {DomainReason.RELAY_ONLY, DomainReason.DISPOSABLE_ONLY}),
    ],
    ids=["consumer", "disposable", "relay"],
)
def test_no_listed_mail_gives_a_domain(listed: frozenset[str], reasons: set[DomainReason]) -> None:
    for name in sorted(listed):
        found = _find(_team(f"ali@{name}"))
        assert found.domain is None, name
        if normalize_domain(name) is not None:
            assert found.reason in reasons, name


def test_a_consumer_provider_above_the_registrable_domain_says_nothing_of_it() -> None:
    assert _find(_team("ali@firma.za.com")).domain == "firma.za.com"


@pytest.mark.parametrize(
    ("email", "reason"),
    [
        (None, DomainReason.NO_EMAIL),
        ("", DomainReason.NO_EMAIL),
        (" yok ", DomainReason.NO_EMAIL),
        ("N/A", DomainReason.NO_EMAIL),
        (42, DomainReason.NO_EMAIL),
        ("ali@sunucu.local", DomainReason.INVALID),
        ("ali@", DomainReason.INVALID),
        ("ali@mailinator.com", DomainReason.DISPOSABLE_ONLY),
        ("x@privaterelay.appleid.com", DomainReason.RELAY_ONLY),
        ("x@noreply.com", DomainReason.RELAY_ONLY),
        ("john@microsoft.com", DomainReason.MICROSOFT),
        ("satis@ortak.com.tr", DomainReason.OWN_DOMAIN),
        ("satis@posta.ORTAK.com.tr", DomainReason.OWN_DOMAIN),
        ("satis@x.IŞIK.com".replace("I", "ı"), DomainReason.OWN_DOMAIN),
        ("satis@ortak.onmicrosoft.com", DomainReason.OWN_DOMAIN),
        ("firma@hs01.kep.tr", DomainReason.KEP_ONLY),
        ("firma@firma.onmicrosoft.com", DomainReason.TENANT_ONLY),
        ("facebook.com/firma", DomainReason.SOCIAL_HOST),
        ("ali@firma.blogspot.com", DomainReason.SOCIAL_HOST),
    ],
)
def test_a_referral_without_a_domain_says_why(email: object, reason: DomainReason) -> None:
    found = _find(_team(email))
    assert (found.domain, found.host, found.source, found.reason) == (None, None, None, reason)


def test_of_several_reasons_the_most_telling_is_told() -> None:
    emails = ["yok", "a@b", "a@mailinator.com", "a@mozmail.com", "a@gmail.com", "a@microsoft.com", "a@ortak.com.tr",
              "a@x.com", "a@hs01.kep.tr", "a@firma.onmicrosoft.com"]  # fmt: skip
    told = [_find(_team(*emails[: count + 1])).reason for count in range(len(emails))]
    assert told == [one for one in reversed(DomainReason) if one is not DomainReason.REFUSED_BY_HAND]
    assert told == [_find(_team(*reversed(emails[: count + 1]))).reason for count in range(len(emails))]


@pytest.mark.parametrize("parent", [(), ("customerProfile",), ("details",)])
@pytest.mark.parametrize("field", ["azureTenantId", "azure_tenant_id", "tenantId"])
def test_a_tenant_field_should_one_appear_is_evidence(parent: tuple[str, ...], field: str) -> None:
    payload = _team("ali@baska.onmicrosoft.com")
    place = payload
    for key in parent:
        place = place.setdefault(key, {})
    place[field] = " 0AF7F1C5-1DA0-4A0C-9A2B-0C1F6F6F0001 "
    found = _find(payload)
    assert (found.tenant, found.tenant_source) == ("0af7f1c5-1da0-4a0c-9a2b-0c1f6f6f0001", TenantSource.PAYLOAD)


@pytest.mark.parametrize("value", [None, "", 5, {}, "yok", "00000000-0000-0000-0000-000000000000"])
def test_a_tenant_field_that_says_nothing_is_no_evidence(value: object) -> None:
    found = _find({"azureTenantId": value})
    assert (found.tenant, found.tenant_source) == (None, None)


@pytest.mark.parametrize("host", ["firma.onmicrosoft.com", "Firma.OnMicrosoft.com.", "firma.mail.onmicrosoft.com"])
def test_a_contact_at_onmicrosoft_is_evidence_beside_any_domain(host: str) -> None:
    found = _find(_team("ali@firma.com.tr", f"admin@{host}"))
    assert found.domain == "firma.com.tr"
    assert (found.tenant, found.tenant_source) == ("firma.onmicrosoft.com", TenantSource.EMAIL_DOMAIN)


def test_the_partners_own_tenant_is_no_evidence() -> None:
    assert _find(_team("satis@ortak.onmicrosoft.com")).tenant is None
    assert _find(_team("x@onmicrosoft.com")).tenant is None
