"""The sales list: one row per company, the referral a salesperson acts on, the same on both databases."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.warehouse import companies, leads, scores, signals, vanished, views
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import row_dict
from partner_center_pipeline.windows import parse_ticks
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.warehouse.rows import company
from partner_center_pipeline_tests.warehouse.test_leads import lead_row
from partner_center_pipeline_tests.warehouse.test_results import NOW, score, signal


def lead(referral_id: str, ticks: int, email: str, **payload: Any) -> dict[str, Any]:
    profile = {"name": "Öztürk Yazılım A.Ş.", "website": "ozturk.com.tr", "team": [{"email": email}]}
    return lead_row(referral_id, ticks, customerProfile=profile, **payload)


def test_the_views_of_a_migrated_database_are_those_this_code_names(databases: Databases) -> None:
    warehouse = Warehouse(databases.migrated())
    statements = views.view_sql("sqlite" if warehouse.is_sqlite else "postgresql")
    assert list(statements) == [view.name for view in views.VIEWS]
    migrated = {name: _definition(warehouse, name) for name in statements}
    with warehouse.write() as connection:
        for name in reversed(statements):
            connection.execute(text(f"DROP VIEW {name}"))
        for statement in statements.values():
            connection.execute(text(statement))
    assert {name: _definition(warehouse, name) for name in statements} == migrated
    warehouse.close()


def _definition(warehouse: Warehouse, name: str) -> str:
    asked = (
        f"SELECT sql FROM sqlite_master WHERE name = '{name}'"
        if warehouse.is_sqlite
        else f"SELECT pg_get_viewdef('{name}'::regclass)"
    )
    with warehouse.read() as connection:
        return " ".join(str(connection.execute(text(asked)).scalar_one()).split())


def test_the_views_have_the_columns_that_are_documented(warehouse: Warehouse) -> None:
    with warehouse.read() as connection:
        for view in views.VIEWS:
            found = connection.execute(text(f"SELECT * FROM {view.name}"))
            assert sorted(found.keys()) == sorted(column.name for column in view.columns)
            assert all(column.comment for column in view.columns)


def test_a_company_stands_once_with_its_newest_open_referral(warehouse: Warehouse) -> None:
    rows = [
        lead("closed-newest", 30, "a@ozturk.com.tr", status="Closed"),
        lead("open-newer", 20, "b@ozturk.com.tr", status="Active", expirationDateTime="2026-03-02T00:00:00Z"),
        lead("open-older", 10, "c@ozturk.com.tr", details={"dealValue": 10, "currency": "TRY"}),
    ]
    with warehouse.write() as connection:
        leads.write(connection, rows)
        made = [company_of(name, of_it) for name, of_it in leads.of_domains(connection, ["ozturk.com.tr"]).items()]
        companies.write(connection, made)
        answered = signal("ozturk.com.tr", gateway="Proofpoint", tenant="ozturk", tenant_source="dkim_target")
        signals.write(connection, [answered])
        scores.write(connection, [score("ozturk.com.tr", explanation_tr="Google posta (+50)")])
        (row,) = [row_dict(row) for row in connection.execute(views.leads_ready.select())]
    assert (row["rank"], row["domain"], row["company_name"]) == (1, "ozturk.com.tr", "Öztürk Yazılım A.Ş.")
    assert (row["referral_id"], row["contact_email"]) == ("open-newer", "b@ozturk.com.tr")
    assert row["response_due"] == datetime(2026, 3, 2, tzinfo=UTC)
    assert (row["deal_value"], row["currency"]) == (Decimal("10.00"), "TRY")
    assert (row["open_referrals"], row["referrals"]) == (2, 3)
    assert (row["gateway"], row["tenant"], row["tenant_source"]) == ("Proofpoint", "ozturk", "dkim_target")
    assert row["explanation_tr"] == "Google posta (+50)"
    assert row["scored_at"] == NOW


def test_without_an_open_referral_the_newest_speaks_for_the_company(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        closed = [
            lead("older", 1, "a@ozturk.com.tr", status="Closed"),
            lead("newer", 2, "b@ozturk.com.tr", status="Closed"),
        ]
        leads.write(connection, closed)
        made = [company_of(name, of_it) for name, of_it in leads.of_domains(connection, ["ozturk.com.tr"]).items()]
        companies.write(connection, made)
        scores.write(connection, [score("ozturk.com.tr")])
        (row,) = [row_dict(row) for row in connection.execute(views.leads_ready.select())]
        assert views.best(connection, 10) == []
    assert (row["referral_id"], row["open_referrals"]) == ("newer", 0)


def test_a_vanished_referral_does_not_speak_for_its_company_and_counts_nowhere(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        leads.write(connection, [lead("gone", 2, "a@ozturk.com.tr"), lead("there", 1, "b@ozturk.com.tr")])
        scores_of_companies(connection)
        vanished.mark(connection, ["gone"], NOW)
        scores_of_companies(connection)
        (row,) = [row_dict(row) for row in connection.execute(views.leads_ready.select())]
        assert (row["referral_id"], row["contact_email"], row["referrals"]) == ("there", "b@ozturk.com.tr", 1)
        vanished.mark(connection, ["there"], NOW)
        scores_of_companies(connection)
        assert connection.execute(views.leads_ready.select()).all() == []
        assert vanished.seen_again(connection, ["gone", "there", "another"], NOW) == 2
        scores_of_companies(connection)
        assert connection.execute(views.leads_ready.select()).one().referrals == 2


def scores_of_companies(connection: Connection) -> None:
    """Make the company again from its leads, and score it."""
    made = [company_of(name, of_it) for name, of_it in leads.of_domains(connection, ["ozturk.com.tr"]).items()]
    companies.write(connection, made)
    scores.write(connection, [score("ozturk.com.tr")])


def test_rank_follows_category_score_deadline_and_deal_and_counts_every_company(warehouse: Warehouse) -> None:
    soon, later = (parse_ticks((NOW + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")) for days in (1, 2))
    listed: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (company("a.com", next_expiry_ticks=soon), score("a.com", 60, category="P1")),
        (company("b.com", next_expiry_ticks=later, deal_value=Decimal(9)), score("b.com", 60, category="P1")),
        (company("c.com", next_expiry_ticks=later, deal_value=Decimal(8)), score("c.com", 60, category="P1")),
        (company("d.com", next_expiry_ticks=soon), score("d.com", 5, category="P1")),
        (company("e.com", next_expiry_ticks=soon), score("e.com", 90, category="P2")),
        (company("pending.com", next_expiry_ticks=soon), score("pending.com", None, category=None)),
    ]
    with warehouse.write() as connection:
        companies.write(connection, [{**row, "referrals": 1} for row, _ in reversed(listed)] + [company("left.com")])
        scores.write(connection, [*(row for _, row in listed), score("left.com")])
        found = connection.execute(views.leads_ready.select().order_by(views.leads_ready.c.rank)).all()
    assert [(row.rank, row.domain) for row in found] == [
        (place, row["domain"]) for place, (row, _) in enumerate(listed, start=1)
    ]
