"""The breaker: opens after some failures in a row, rests longer each time, forgets when Partner Center answers."""

from datetime import UTC, datetime, timedelta

from partner_center_pipeline.warehouse import breaker
from partner_center_pipeline.warehouse.breaker import FAILURES, FIRST_REST, LONGEST_REST, Breaker
from partner_center_pipeline.warehouse.database import Warehouse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def failed(warehouse: Warehouse, times: int, now: datetime = NOW) -> Breaker:
    for _ in range(times):
        with warehouse.write() as connection:
            found = breaker.note_failure(connection, "Partner Center is in trouble (HTTP 503).", now)
    with warehouse.read() as connection:
        assert breaker.load(connection) == found
    return found


def test_some_failures_are_no_reason_to_rest(warehouse: Warehouse) -> None:
    found = failed(warehouse, FAILURES - 1)
    assert not found.tripped
    assert not found.rests(NOW)


def test_one_more_opens_it_until_a_time_and_says_why(warehouse: Warehouse) -> None:
    found = failed(warehouse, FAILURES)
    assert found.open_until == NOW + FIRST_REST
    assert found.rests(NOW + FIRST_REST - timedelta(seconds=1))
    assert not found.rests(NOW + FIRST_REST)
    assert found.tripped
    assert "until 2026-03-01 12:15 UTC after 5 failed runs in a row" in str(found)
    assert "HTTP 503" in str(found)


def test_each_rest_is_twice_as_long_up_to_a_limit(warehouse: Warehouse) -> None:
    rests = [failed(warehouse, FAILURES)] + [failed(warehouse, 1) for _ in range(10)]
    lengths = [rest.open_until - NOW for rest in rests if rest.open_until]
    assert lengths[:3] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    assert lengths[-1] == max(lengths) == LONGEST_REST


def test_a_rest_that_no_clock_but_a_wrong_one_could_have_set_is_void(warehouse: Warehouse) -> None:
    found = failed(warehouse, FAILURES + 20, NOW + timedelta(days=30))
    assert not found.rests(NOW)
    assert found.tripped  # one page is tried first
    assert found.rests(NOW + timedelta(days=30))


def test_an_answer_forgets_everything(warehouse: Warehouse) -> None:
    failed(warehouse, FAILURES + 3)
    with warehouse.write() as connection:
        breaker.close(connection)
        assert breaker.load(connection) == Breaker()
    assert not failed(warehouse, 1).tripped


def test_a_long_wait_that_microsoft_asked_for_is_kept_and_void_only_by_a_wrong_clock(warehouse: Warehouse) -> None:
    day = timedelta(days=1)
    with warehouse.write() as connection:
        breaker.note_failure(connection, "throttled", NOW, asked_wait=2 * day.total_seconds())
    with warehouse.read() as connection:
        found = breaker.load(connection)
    assert found.rests(NOW)
    assert found.rests(NOW + 2 * day - timedelta(seconds=1))
    assert not found.rests(NOW + 2 * day)
    assert not found.rests(NOW - timedelta(seconds=1)), "the clock that wrote it was ahead"
