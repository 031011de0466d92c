"""Suggested matches: who is compared with whom, and suggestions that follow what is known now."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select

from partner_center_pipeline.warehouse import companies, leads, matches
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import companies as companies_table
from partner_center_pipeline.warehouse.schema import row_dict, suggested_matches
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_leads import lead_row

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


def match(kind: str, subject: str, domain: str, similarity: int = 95) -> dict[str, Any]:
    return {
        "kind": kind,
        "subject": subject,
        "domain": domain,
        "reason": "similar_name",
        "similarity": similarity,
        "group_id": "g",
    }


def stored(connection: Connection) -> dict[tuple[str, str, str], tuple[int, datetime]]:
    rows = map(row_dict, connection.execute(select(suggested_matches)))
    return {(row["kind"], row["subject"], row["domain"]): (row["similarity"], row["suggested_at"]) for row in rows}


def lead(referral_id: str, block: str | None, domain: str | None = None) -> dict[str, Any]:
    return {**lead_row(referral_id, domain=domain), "company_name_block": block}


def test_a_company_is_compared_with_its_block_and_with_domains_that_read_the_same(warehouse: Warehouse) -> None:
    named: dict[str, dict[str, Any]] = {
        "a.com": {"name_block": "ozturk"},
        "b.com": {"name_block": "ozturk"},
        "ilgaz.com": {"domain_ascii_key": "ilgaz.com"},
        "xn--lgaz-1wa.com": {"domain_ascii_key": "ilgaz.com", "name_block": "ilgaz"},
        "other.com": {"name_block": "anadolu"},
        "left.com": {"name_block": "ozturk", "referrals": 0},
    }
    with warehouse.write() as connection:
        companies.write(connection, [company(name, **{"referrals": 1} | values) for name, values in named.items()])
        leads.write(connection, [lead("r1", "ozturk"), lead("r2", "ozturk", "a.com"), lead("r3", "anadolu")])
        near = matches.companies_near(connection, ["ozturk"], ["ilgaz.com"])
        assert {row["domain"] for row in near} == {"a.com", "b.com", "ilgaz.com", "xn--lgaz-1wa.com"}
        assert [row["referral_id"] for row in matches.leads_near(connection, ["ozturk"])] == ["r1"]
        assert [row["domain"] for row in matches.companies_of(connection, ["a.com", "left.com"])] == ["a.com"]


def test_a_block_of_thousands_gives_its_newest_names_only(warehouse: Warehouse) -> None:
    many = [f"c{number:05}.com" for number in range(matches.BLOCK_LIMIT + 5)]
    with warehouse.write() as connection:
        rows = [company(name, name_block="turk", referrals=1, updated_ticks=at) for at, name in enumerate(many)]
        companies.write(connection, rows)
        near = matches.companies_near(connection, ["turk"], [])
    assert {row["domain"] for row in near} == set(many[5:])


def test_suggestions_are_replaced_and_those_that_stay_keep_their_day(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        companies.write(connection, [company(name, referrals=1) for name in ("a.com", "b.com", "c.com")])
        first = [match("company", "a.com", "b.com"), match("company", "a.com", "c.com"), match("lead", "r1", "a.com")]
        assert matches.replace_of_companies(connection, ["a.com"], first, NOW) == [
            ("company", "a.com", "b.com"),
            ("company", "a.com", "c.com"),
            ("lead", "r1", "a.com"),
        ]
        again = [match("company", "a.com", "b.com"), match("company", "a.com", "c.com", 91)]
        assert matches.replace_of_companies(connection, ["a.com"], again, LATER) == []
        assert stored(connection) == {
            ("company", "a.com", "b.com"): (95, NOW),
            ("company", "a.com", "c.com"): (91, NOW),
        }
        assert matches.replace_of_companies(connection, ["c.com"], [], LATER) == []
        assert list(stored(connection)) == [("company", "a.com", "b.com")]


def test_a_lead_that_found_its_domain_has_no_suggestion_left(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        companies.write(connection, [company("a.com", referrals=1)])
        matches.replace_of_leads(
            connection, ["r1", "r2"], [match("lead", "r1", "a.com"), match("lead", "r2", "a.com")], NOW
        )
        matches.replace_of_leads(connection, ["r1"], [], NOW)
        assert list(stored(connection)) == [("lead", "r2", "a.com")]


def test_a_suggestion_goes_with_its_company(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        companies.write(connection, [company("a.com", referrals=1)])
        matches.replace_of_leads(connection, ["r1"], [match("lead", "r1", "a.com")], NOW)
        connection.execute(delete(companies_table))
        assert stored(connection) == {}
