"""The first rows of the lists: the same as the views', read from indexes on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text, update

from partner_center_pipeline.leads.decisions import Author, Decision, DecisionKind, Mark
from partner_center_pipeline.warehouse import decisions, first_page, list_order, reporting, vanished, views
from partner_center_pipeline.warehouse import leads as stored_leads
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import leads
from partner_center_pipeline.windows import ticks_of
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
            deal = {} if one["value"] is None else {"details": {"dealValue": one["value"], "currency": "EUR"}}
            rows.append(lead_row(one["id"], domain=one["domain"], status=one["status"], **due, **deal))
        scored = {"a.com": {"score": 5}, "b.com": {"category": None, "score": None, "label": None, "act": None}}
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
                connection.execute(gone.values(expires_ticks=ticks_of(datetime.now(UTC)) - 1))
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


