"""What referrals become: leads, companies and drift, as the assets make them, on both databases."""

from datetime import UTC, datetime
from random import Random
from string import ascii_letters
from typing import Any

from sqlalchemy import select, update

from partner_center_pipeline.defs.derivation import Span, make_companies, make_leads
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import referrals, schema
from partner_center_pipeline.warehouse.bulk import CHUNK
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.warehouse.pages import make_version

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
SPAN = Span(0, 10)
TENANT = "0af7f1c5-1da0-4a0c-9a2b-0c1f6f6f0001"


def payload(email: str = "ali@firma.com.tr", name: str = "Firma A.Ş.", **fields: Any) -> dict[str, Any]:
    return {"status": "New", "customerProfile": {"name": name, "team": [{"email": email}]}, **fields}


def bring(db: Warehouse, **payloads: dict[str, Any]) -> None:
    """Store referrals in the window of SPAN, and make leads and companies of them."""
    placed = [
        referrals.Placed(make_version(name, number, payload=content), 0, late=False)
        for number, (name, content) in enumerate(payloads.items())
    ]
    with db.write() as connection:
        referrals.store(connection, placed, NOW)
    derive(db)


def derive(db: Warehouse) -> None:
    make_leads(db, SPAN, frozenset(), NOW)
    make_companies(db, SPAN, Settings(), NOW)


def column(db: Warehouse, referral_id: str, name: str) -> Any:
    with db.read() as connection:
        return connection.execute(
            select(schema.leads.c[name]).where(schema.leads.c.referral_id == referral_id)
        ).scalar_one()


def test_a_tenant_field_without_a_tenant_is_recorded_as_drift_once(warehouse: Warehouse) -> None:
    bring(
        warehouse,
        a=payload(tenantId="TBD"),
        b=payload(tenantId="TBD", azureTenantId=False),
        c=payload(tenantId=TENANT, details={"tenantId": "Ali Veli ali@firma.com.tr"}),
    )
    assert sorted(
        (row.kind, row.path, row.value, row.referral_id) for row in drift_of(warehouse)
    ) == [
        ("value", "azureTenantId", "(boolean)", "b"),
        ("value", "details.tenantId", "(other)", "c"),
        ("value", "tenantId", "TBD", "a"),
    ]  # fmt: skip
    assert [column(warehouse, name, "tenant") for name in "abc"] == [None, None, TENANT]


def test_rows_that_older_rules_made_are_made_anew_when_their_window_runs_again(warehouse: Warehouse) -> None:
    bring(warehouse, a=payload(tenantId="TBD"))
    with warehouse.write() as connection:
        older = {"derived_with": "older", "tenant": "tbd", "tenant_source": "payload"}
        connection.execute(update(schema.leads).values(**older))
        connection.execute(update(schema.companies).values(**older))
    derive(warehouse)
    assert column(warehouse, "a", "tenant") is None
    with warehouse.read() as connection:
        assert connection.execute(select(schema.companies.c.tenant)).scalars().all() == [None]


def test_long_texts_make_a_lead_and_a_company_on_both_databases(warehouse: Warehouse) -> None:
    """PostgreSQL's indexes take 2,704 bytes; no text of a referral but its id may be longer than what is in one."""
    letters = Random(1)  # noqa: S311  no secret hangs on it
    long = " ".join("".join(letters.choices(ascii_letters, k=12)) for _ in range(2_000))
    fields = ("engagementId", "organizationId", "type", "qualification", "direction", "substatus", "tenantId")
    texts = dict.fromkeys(fields, long)
    address = {"country": long, "city": long, "region": long}
    customer = {"name": long, "address": address, "size": long, "team": [{"email": "a@firma.com.tr"}]}
    details = {"notes": long, "currency": long, "dealValue": long}
    bring(
        warehouse,
        a={**payload(**texts), "customerProfile": customer, "details": details},
        b=payload(name=long) | texts | {"status": long, "customerProfile": {"name": long, "team": [{"email": long}]}},
    )
    assert column(warehouse, "a", "engagement_id") == long
    with warehouse.read() as connection:
        assert connection.execute(select(schema.companies.c.name)).scalars().all() == [long]


def test_a_company_is_made_once_of_all_the_referrals_of_a_load(warehouse: Warehouse) -> None:
    """However many chunks of leads name it: each time that it is made, all of its leads are read."""
    domains = [f"firma{number}.com.tr" for number in range(CHUNK + 1)]
    with warehouse.write() as connection:
        for round_ in range(3):
            placed = [
                referrals.Placed(make_version(f"{round_}-{name}", 1, payload=payload(f"ali@{name}")), 0, late=False)
                for name in domains
            ]
            referrals.store(connection, placed, NOW)
    make_leads(warehouse, SPAN, frozenset(), NOW)
    made = make_companies(warehouse, SPAN, Settings(), NOW).written
    assert (made.new, made.changed, made.unchanged) == (len(domains), 0, 0)


def drift_of(db: Warehouse) -> list[Any]:
    with db.read() as connection:
        return list(connection.execute(select(schema.payload_drift)))
