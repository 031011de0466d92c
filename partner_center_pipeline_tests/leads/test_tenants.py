"""identity.md, "Tenant in a referral"; scoring.md, section 4: which values name a customer's tenant."""

from typing import Any

import pytest
from hypothesis import given

from partner_center_pipeline.leads.customer_domain import find_domain, values_without_tenant
from partner_center_pipeline.vocabulary import TenantSource
from partner_center_pipeline_tests.leads.strategies import payloads

GUID = "0af7f1c5-1da0-4a0c-9a2b-0c1f6f6f0001"
NAME = "firma.onmicrosoft.com"
OWN = frozenset({"ortak.com.tr", "ortak.onmicrosoft.com"})

NO_TENANTS = [
    "TBD", "false", "true", "N.V.", "customer", "yok yok", "12345", "firma.com.tr", "ali@firma.com.tr",
    "firma.sharepoint.com", "https://firma.com.tr/", f"{GUID}-1", GUID[:-1], GUID.replace("-", "x"), "onmicrosoft.com",
    "firma onmicrosoft com", "9188040d-6c67-4c5b-b112-36a304b66dad", "9188040D-6C67-4C5B-B112-36A304B66DAD",
    "72f988bf-86f1-41af-91ab-2d7cd011db47", "f8cdef31-a31e-4b4a-93e4-5f571e91255a", "microsoft.onmicrosoft.com",
    "contoso.onmicrosoft.com", "fabrikam.onmicrosoft.com", "11111111-1111-1111-1111-111111111111",
    "ffffffff-ffff-ffff-ffff-ffffffffffff", "11111111-2222-3333-4444-555555555555",
    "12345678-1234-1234-1234-123456789012",
]  # fmt: skip


def _tenant(payload: dict[str, Any]) -> tuple[str | None, TenantSource | None]:
    found = find_domain(payload, OWN)
    return found.tenant, found.tenant_source


def _member(email: str) -> dict[str, Any]:
    return {"customerProfile": {"team": [{"email": email}]}}


@pytest.mark.parametrize(
    ("value", "tenant"),
    [
        (GUID, GUID), (f" {GUID.upper()} ", GUID), (f"{{{GUID}}}", GUID), (NAME, NAME),
        ("Firma.OnMicrosoft.com.", NAME), ("admin@firma.mail.onmicrosoft.com", NAME), (f"https://{NAME}/", NAME),
        ("firma.onmicrosoft.us", "firma.onmicrosoft.us"), ("x.partner.onmschina.cn", "x.partner.onmschina.cn"),
    ],
)  # fmt: skip
def test_an_id_or_a_first_name_in_a_tenant_field_is_the_tenant(value: str, tenant: str) -> None:
    assert _tenant({"tenantId": value}) == (tenant, TenantSource.PAYLOAD)
    assert values_without_tenant({"tenantId": value}) == []


@pytest.mark.parametrize("value", [*NO_TENANTS, False, True, 5, {"a": 1}, [GUID]])
def test_anything_else_in_a_tenant_field_is_no_tenant_and_drift(value: object) -> None:
    assert _tenant({"details": {"tenantId": value}}) == (None, None)
    ((path, _),) = values_without_tenant({"details": {"tenantId": value}})
    assert path == "details.tenantId"


@pytest.mark.parametrize("value", [None, "", "  ", "yok", "N/A", "00000000-0000-0000-0000-000000000000"])
def test_a_tenant_field_that_says_nothing_is_no_drift(value: object) -> None:
    assert _tenant({"tenantId": value}) == (None, None)
    assert values_without_tenant({"tenantId": value}) == []


def test_a_field_without_a_tenant_gives_way_to_the_next_and_to_a_contacts_address() -> None:
    assert _tenant({"azureTenantId": "TBD", "tenantId": GUID}) == (GUID, TenantSource.PAYLOAD)
    payload = {"azureTenantId": "TBD", **_member(f"ali@{NAME}")}
    assert _tenant(payload) == (NAME, TenantSource.EMAIL_DOMAIN)


@pytest.mark.parametrize(
    "host", ["microsoft.onmicrosoft.com", "contoso.onmicrosoft.com", "fabrikam.mail.onmicrosoft.com",
             "ortak.onmicrosoft.com", "ortak.mail.onmicrosoft.com"],
)  # fmt: skip
def test_an_address_at_microsofts_or_the_partners_tenant_is_no_evidence(host: str) -> None:
    assert _tenant(_member(f"ali@{host}")) == (None, None)
    assert _tenant({"tenantId": host}) == (None, None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("TBD", "TBD"), (" false ", "false"), (False, "(boolean)"), (5, "(number)"), ([], "(object)"),
     ("72F988BF-86F1-41AF-91AB-2D7CD011DB47", "72F988BF-86F1-41AF-91AB-2D7CD011DB47"),
     ("ali@firma.com.tr", "(other)"), ("Ali Veli", "(other)"), ("firma.com.tr", "(other)")],
)  # fmt: skip
def test_drift_shows_a_word_or_microsofts_own_ids_and_nothing_else(value: object, shown: str) -> None:
    assert values_without_tenant({"tenantId": value}) == [("tenantId", shown)]


@given(payloads)
def test_no_payload_is_an_error(payload: dict[str, Any]) -> None:
    for path, shown in values_without_tenant(payload):
        assert path.rpartition(".")[2] in ("tenantId", "azureTenantId", "azure_tenant_id")
        assert len(shown) <= 40
