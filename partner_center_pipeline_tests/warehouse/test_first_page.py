"""The first rows of the lists: the same as the views', read from indexes on both databases."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Select, event, select, text, update

from alembic import command
from partner_center_pipeline.leads.decisions import Author, Decision, DecisionKind, Mark
from partner_center_pipeline.warehouse import (
    decisions,
    first_page,
    health,
    list_order,
    reporting,
    scores,
    vanished,
    views,
)
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import leads
from partner_center_pipeline.warehouse.schema import list_order as list_order_table
from partner_center_pipeline.windows import ticks_of
from partner_center_pipeline_tests.benchmarks.multiply import multiply
from partner_center_pipeline_tests.benchmarks.pages import GRID
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.warehouse.effort import effort, effort_of_driver
from partner_center_pipeline_tests.warehouse.rows import undone
from partner_center_pipeline_tests.warehouse.test_leads import lead_row
from partner_center_pipeline_tests.warehouse.test_results import NOW
from partner_center_pipeline_tests.warehouse.test_views import in_days, listed, made

SOON = datetime.now(UTC) + timedelta(days=1)


def mark(connection: Connection, referral_id: str, choice: Mark, until: datetime | None = None) -> None:
    """Let a person mark a lead."""
    ticks = None if until is None else ticks_of(until)
    one = Decision(kind=DecisionKind.MARK, subject=referral_id, choice=choice, until_ticks=ticks)
    decisions.append(connection, [one], Author("a person", NOW))


@st.composite
def _histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [
        {
            "id": f"r{number}",
            "domain": draw(st.sampled_from([None, "a.com", "b.com", "c.com", "d.com"])),
            "status": draw(st.sampled_from(["New", "New", "Closed"])),
            "days": draw(st.none() | st.sampled_from([-40, -1, 1, 3])),
            "value": draw(st.none() | st.integers(0, 3)),
            "vanished": draw(st.integers(0, 5)) == 0,
            "mark": draw(st.sampled_from([None, None, None, *Mark])),
            "passed": draw(st.integers(0, 4)) == 0,
        }
        for number in range(draw(st.integers(0, 9)))
    ]


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(history=_histories(), size=st.integers(1, 6))
def test_a_first_page_has_the_first_rows_of_the_list(
    warehouse: Warehouse, history: list[dict[str, Any]], size: int
) -> None:
    with undone(warehouse) as connection:
        rows = []
        for one in history:
            due: dict[str, Any] = {} if one["days"] is None else {"expirationDateTime": in_days(one["days"])}
            deal: dict[str, Any] = (
                {} if one["value"] is None else {"details": {"dealValue": one["value"], "currency": "EUR"}}
            )
            rows.append(lead_row(one["id"], domain=one["domain"], status=one["status"], **due, **deal))
        scored: dict[str, dict[str, Any]] = {
            "a.com": {"score": 5},
            "b.com": {"category": None, "score": None, "label": None, "act": None},
        }
        made(connection, rows, scored)
        for one in history:
            if one["mark"]:
                mark(connection, one["id"], one["mark"], SOON if one["mark"] is Mark.SNOOZED else None)
            if one["vanished"]:
                vanished.mark(connection, [one["id"]], NOW)
        # The clock goes on: a deadline passes, and nothing is written.
        for one in history:
            if one["passed"] and one["days"] == 1:
                connection.execute(text("UPDATE list_order SET valid_until_ticks = 1 WHERE referral_id = :id"), one)
                gone = update(leads).where(leads.c.referral_id == one["id"])
                # SQLite's view counts whole seconds: what is over since less is not over for each question.
                connection.execute(gone.values(expires_ticks=ticks_of(datetime.now(UTC) - timedelta(seconds=2))))
        ready, due_first = listed(connection, views.leads_ready), listed(connection, views.due_first)
        assert without_time(first_page.of_companies(connection, size)) == without_time(ready[:size])
        open_ones = [row for row in ready if row["open_referrals"]][:size]
        assert without_time(first_page.of_companies(connection, size, only_open=True)) == without_time(open_ones)
        assert without_time(first_page.of_due(connection, size)) == without_time(due_first[:size])
        near = [row for row in due_first if row["hours_left"] < 48]
        found = reporting.near_rows(connection, timedelta(days=2))
        assert {row["referral_id"] for row in found} == {row["referral_id"] for row in near}
        list_order.renew_what_is_over(connection)
        assert connection.execute(text(first_page.moved_sql(connection.dialect.name))).all() == []
        assert without_time(first_page.of_companies(connection, size)) == without_time(ready[:size])


def without_time(rows: list[Any]) -> list[dict[str, Any]]:
    """Rows without what depends on the moment of reading."""
    return [{name: value for name, value in row.items() if name != "hours_left"} for row in rows]


LITTLE = 1_000
"""What a read may take more than with a hundredth of the leads. PostgreSQL passes on ten times as many rows where it
reads a table of leads or companies whole. How it reads the 61 texts of rules, which do not grow, is left to it."""


@pytest.mark.slow
def test_a_first_page_reads_no_more_with_a_hundred_times_as_many_leads(warehouse: Warehouse) -> None:
    with undone(warehouse) as connection:
        due: list[dict[str, Any]] = [{"expirationDateTime": in_days(number / 10)} for number in range(-50, 50)]
        made(
            connection,
            [lead_row(f"00000000-{number:04x}", domain=f"c{number}.com", **one) for number, one in enumerate(due)],
        )
        few = efforts(connection)
        multiply(connection, 100)
        many = efforts(connection)
        whole = effort(connection, "SELECT rank FROM leads_ready ORDER BY rank LIMIT 20", {})
    assert whole > 10 * LITTLE, "the view reads all that is stored; a test that does not see it sees nothing"
    for name, before in few.items():
        assert many[name] <= before * 1.5 + LITTLE, (name, few, many)


@pytest.mark.slow
def test_what_status_asks_reads_no_more_with_a_hundred_times_as_many_leads(warehouse: Warehouse) -> None:
    asked = statements_of(warehouse, lambda: health.facts(warehouse, GRID, datetime.now(UTC)))
    assert len(asked) >= 5
    with undone(warehouse) as connection:
        made(connection, [lead_row(f"00000000-{number:04x}", domain=f"c{number}.com") for number in range(100)])
        few = [effort_of_driver(connection, *each) for each in asked]
        multiply(connection, 100)
        many = [effort_of_driver(connection, *each) for each in asked]
    for (statement, _), before, after in zip(asked, few, many, strict=True):
        assert after <= before * 1.5 + LITTLE, statement


def statements_of(warehouse: Warehouse, work: Callable[[], object]) -> list[tuple[str, Any]]:
    """The queries that something asks a warehouse, as the driver gets them."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            asked.append((statement, parameters))

    event.listen(warehouse.engine, "before_cursor_execute", note)
    work()
    event.remove(warehouse.engine, "before_cursor_execute", note)
    return asked


def efforts(connection: Connection) -> dict[str, int]:
    """How much each statement of a first page, and the look for near deadlines, reads."""
    dialect = connection.dialect.name
    page = connection.execute(text(first_page.page_sql(dialect, after=False)), {"size": 20}).mappings().all()
    last = connection.execute(text(first_page.last_deadline_sql(dialect)), {"before": 19}).scalar_one()
    places = [[row["domain"], row["referral_id"], 1] for row in page]
    statements: dict[str, tuple[str, dict[str, Any]]] = {
        "the page": (first_page.page_sql(dialect, after=False), {"size": 20}),
        "the next page": (first_page.page_sql(dialect, after=True), {"size": 20, **page[-1]}),
        "what the clock moved": (first_page.moved_sql(dialect), {}),
        "its rows": (views.companies_of_places_sql(dialect), {"places": json.dumps(places)}),
        "the last deadline": (first_page.last_deadline_sql(dialect), {"before": 19}),
        "the first deadlines": (first_page.first_due_sql(dialect), {"until": last, "size": 20}),
        "the versions of the rules": (scores.VERSIONS, {}),
    }
    return {name: effort(connection, *statement) for name, statement in statements.items()}


def test_a_migration_makes_the_order_of_what_is_stored(databases: Databases) -> None:
    warehouse = Warehouse(databases.migrated())
    rows = [
        lead_row("r1", domain="a.com", expirationDateTime=in_days(2)),
        lead_row("r2", domain="a.com", expirationDateTime=in_days(-1)),
        lead_row("r3", domain="b.com", details={"dealValue": 5, "currency": "EUR"}),
        lead_row("r4", domain="c.com", status="Closed"),
    ]
    with warehouse.write() as connection:
        made(connection, rows)
        mark(connection, "r3", Mark.SNOOZED, SOON)
        kept = connection.execute(list_order_rows()).all()
    assert [row.domain for row in kept] == ["a.com", "b.com", "c.com"]
    command.downgrade(warehouse._alembic(), "0013")
    warehouse.migrate()
    with warehouse.read() as connection:
        assert connection.execute(list_order_rows()).all() == kept
    warehouse.close()


def list_order_rows() -> Select[Any]:
    """All rows of list_order, by domain."""
    return select(list_order_table).order_by(list_order_table.c.domain)
