"""The breaker: opens after some failures in a row, rests longer each time, forgets when Partner Center answers."""

from datetime import UTC, datetime, timedelta

import pytest

from partner_center_pipeline.warehouse import breaker
from partner_center_pipeline.warehouse.breaker import FAILURES, FIRST_REST, LONGEST_REST, Breaker
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.conftest import PostgresServer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def failed(warehouse: Warehouse, times: int, now: datetime = NOW) -> Breaker:
    for _ in range(times):
        with warehouse.write() as connection:
            found = breaker.note_failure(connection, "Partner Center is in trouble (HTTP 503).", lambda: now)
    with warehouse.read() as connection:
        assert breaker.load(connection) == found
    return found


def test_some_failures_are_no_reason_to_rest(warehouse: Warehouse) -> None:
    found = failed(warehouse, FAILURES - 1)
    assert not found.tripped
    assert not found.rests(NOW)


def test_one_more_opens_it_until_a_time_and_says_why(warehouse: Warehouse) -> None:
    found = failed(warehouse, FAILURES)
    assert found.opened_at is not None
    assert found.open_until == found.opened_at + FIRST_REST
    assert found.rests(found.open_until - timedelta(seconds=1))
    assert not found.rests(found.open_until)
    assert found.tripped
    assert f"until {found.open_until:%Y-%m-%d %H:%M} UTC after 5 failed runs in a row" in str(found)
    assert "HTTP 503" in str(found)


def test_each_rest_is_twice_as_long_up_to_a_limit(warehouse: Warehouse) -> None:
    rests = [failed(warehouse, FAILURES)] + [failed(warehouse, 1) for _ in range(10)]
    lengths = [rest.open_until - rest.opened_at for rest in rests if rest.open_until and rest.opened_at]
    assert lengths[:3] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    assert lengths[-1] == max(lengths) == LONGEST_REST


@pytest.mark.postgres
@pytest.mark.parametrize("asked", [60.0, 240.0, 3600.0])
@pytest.mark.parametrize("minutes", [-5, 2, 5, 60])
def test_a_pause_holds_for_machines_whose_clocks_differ(postgres: PostgresServer, minutes: int, asked: float) -> None:
    """By the clock of the server of the database that they share."""
    warehouse = Warehouse.open(postgres.emptied())
    here = datetime.now(UTC)
    with warehouse.write() as connection:
        breaker.note_failure(connection, "throttled", lambda: here + timedelta(minutes=minutes), asked)
    with warehouse.read() as connection:
        found = breaker.resting(connection, lambda: here)
    warehouse.close()
    assert found is not None
    assert found.open_until is not None
    assert found.open_until - here == pytest.approx(timedelta(seconds=asked), abs=timedelta(seconds=10))


def test_a_rest_that_no_clock_but_a_wrong_one_could_have_set_is_void() -> None:
    begun = NOW + timedelta(days=30)
    found = Breaker(FAILURES, "in trouble", begun + LONGEST_REST, begun)
    assert not found.rests(NOW)
    assert found.tripped  # one page is tried first
    assert found.rests(begun)


def test_an_answer_forgets_everything(warehouse: Warehouse) -> None:
    failed(warehouse, FAILURES + 3)
    with warehouse.write() as connection:
        breaker.close(connection)
        assert breaker.load(connection) == Breaker()
    assert not failed(warehouse, 1).tripped


def test_a_long_wait_that_microsoft_asked_for_is_kept_and_void_only_by_a_wrong_clock(warehouse: Warehouse) -> None:
    wait = timedelta(days=2)
    with warehouse.write() as connection:
        breaker.note_failure(connection, "throttled", lambda: NOW, asked_wait=wait.total_seconds())
    with warehouse.read() as connection:
        found = breaker.load(connection)
    begun = found.opened_at
    assert begun is not None
    assert found.rests(begun)
    assert found.rests(begun + wait - timedelta(seconds=1))
    assert not found.rests(begun + wait)
    assert not found.rests(begun - timedelta(seconds=1)), "the clock that wrote it was ahead"
