"""Clocks that differ: the server's decides which windows are over, and what a clock that was ahead wrote is void."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from partner_center_pipeline.defs import window_fetch
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import breaker, ledger, schema
from partner_center_pipeline_tests.defs.project import Project
from partner_center_simulator import Simulator

pytestmark = pytest.mark.slow

NEXT_MONTH = timedelta(days=30)


@pytest.fixture
def impatient(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that waits for no server clock."""
    monkeypatch.setattr(window_fetch, "PATIENCE", 0.5)
    return project


def raw_until(project: Project) -> int:
    with project.warehouse.read() as connection:
        ((_, high),) = ledger.covered(connection, [Asset.RAW_REFERRALS])
    return high


def test_of_a_range_what_is_over_by_the_servers_clock_is_done_and_only_the_rest_fails(
    impatient: Project, microsoft: Simulator
) -> None:
    """This machine's clock is 25 minutes ahead: two or three windows of ten minutes are not over for the server."""
    grid = impatient.grid
    behind = timedelta(minutes=25)
    microsoft.clock.advance(-behind)
    last = impatient.last_due()
    first = grid.window(last.start - 6 * grid.width)
    outcome = impatient.run(first, last, ["raw_referrals"])
    over_until = grid.due_end(datetime.now(UTC) - behind)
    assert not outcome.success
    assert raw_until(impatient) == over_until
    count = (over_until - first.start) // grid.width
    assert f"{count} of 7 windows are fetched; those from {grid.window(over_until).key} on are not over" in str(
        outcome.failure
    )
    assert re.search(r"This machine's clock is 1(499|500|501) s ahead of Partner Center's\.", str(outcome.failure))
    states = [impatient.attempts(window) for window in grid.between(first.start, last.end)]
    assert {state for ((state, _),) in states[:count]} <= {"complete", "empty"}
    assert [state for ((state, _),) in states[count:]] == (7 - count) * ["failed"]
    with impatient.warehouse.read() as connection:
        assert breaker.load(connection) == breaker.Breaker()
        assert ledger.clock_skew(connection, datetime.now(UTC)) == pytest.approx(-1500, abs=3)

    microsoft.clock.advance(behind)
    assert impatient.run(first, last, ["raw_referrals"]).success
    assert raw_until(impatient) == last.end


def test_the_sensor_asks_for_no_window_that_the_server_would_refuse_once_that_is_known(
    impatient: Project, microsoft: Simulator
) -> None:
    behind = timedelta(minutes=25)
    microsoft.clock.advance(-behind)
    last = impatient.last_due()
    impatient.mark_done((impatient.window(0), impatient.grid.window(last.start - 7 * impatient.grid.width)))
    assert not impatient.run(last).success
    impatient.set_attempts_back(timedelta(hours=2))
    said = impatient.tick_sensor()
    assert not isinstance(said, str), said
    over_until = impatient.grid.due_end(datetime.now(UTC) - behind - timedelta(seconds=90))
    assert said[-1][1] == impatient.grid.window(over_until - impatient.grid.width).key


def test_a_machine_that_is_behind_fetches_what_is_due_by_its_own_clock(project: Project, microsoft: Simulator) -> None:
    microsoft.clock.advance(timedelta(seconds=300))
    last = project.last_due()
    outcome = project.run(project.grid.window(last.start - 6 * project.grid.width), last)
    assert outcome.success, outcome.failure
    assert raw_until(project) == last.end
    with project.warehouse.read() as connection:
        assert ledger.clock_skew(connection, datetime.now(UTC)) == pytest.approx(300, abs=3)


def test_a_pause_a_lease_and_tries_from_next_month_hold_nothing_back(project: Project) -> None:
    future = datetime.now(UTC) + NEXT_MONTH
    project.mark_failed(project.window(0))
    with project.warehouse.write() as connection:
        connection.execute(
            schema.breakers.insert().values(
                name=breaker.NAME, failures=breaker.FAILURES, reason="refused", open_until=future
            )
        )
        connection.execute(
            schema.leases.insert().values(
                name="partner_center_fetch", holder="long gone", acquired_at=future, expires_at=future
            )
        )
        connection.execute(update(schema.sync_attempts).values(started_at=future))
    said = project.tick_sensor()
    assert not isinstance(said, str), said
    assert len(said) == 1, "after a pause one run tries"
    assert project.run(project.window(0)).success


def test_a_domain_that_was_asked_by_a_clock_that_was_ahead_is_asked_again(project: Project) -> None:
    assert project.run(project.window(0)).success
    future = datetime.now(UTC) + NEXT_MONTH
    table = schema.domain_signals
    with project.warehouse.write() as connection:
        connection.execute(update(table).values(scanned_at=future, next_scan_at=future + NEXT_MONTH))
    job = project.definitions.resolve_job_def("partner_center_rescan")
    assert job.execute_in_process(instance=project.instance, raise_on_error=False).success
    with project.warehouse.read() as connection:
        assert max(connection.execute(select(table.c.scanned_at)).scalars()) < future
