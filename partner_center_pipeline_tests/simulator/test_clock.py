"""The simulated clock."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.windows import ticks_of
from partner_center_simulator import SimulatorClock

MOMENT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@given(st.lists(st.integers(-(10**6), 10**6), max_size=20))
def test_a_frozen_clock_moves_only_by_hand(steps: list[int]) -> None:
    clock = SimulatorClock(MOMENT, frozen=True)
    clock.set(MOMENT)
    for seconds in steps:
        clock.advance(seconds)
    assert clock.ticks() == ticks_of(MOMENT + timedelta(seconds=sum(steps)))
    assert clock.now() == MOMENT + timedelta(seconds=sum(steps))


def test_a_running_clock_starts_at_its_start_and_does_not_go_back() -> None:
    clock = SimulatorClock(MOMENT)
    first, second = clock.ticks(), clock.ticks()
    assert ticks_of(MOMENT) <= first <= second
    assert not clock.frozen


def test_a_clock_without_a_start_shows_real_time() -> None:
    before = datetime.now(UTC)
    assert before - timedelta(microseconds=1) <= SimulatorClock().now() <= datetime.now(UTC)


def test_a_frozen_clock_goes_on_from_where_it_stood() -> None:
    clock = SimulatorClock(MOMENT, frozen=True)
    clock.set(MOMENT + timedelta(days=3))
    clock.resume()
    assert MOMENT + timedelta(days=3) <= clock.now() < MOMENT + timedelta(days=3, minutes=5)
    clock.freeze()
    assert clock.ticks() == clock.ticks()


def test_a_running_clock_can_be_set_and_advanced() -> None:
    clock = SimulatorClock(MOMENT)
    clock.set(MOMENT - timedelta(days=30))
    clock.advance(timedelta(days=1))
    assert MOMENT - timedelta(days=29) <= clock.now() < MOMENT - timedelta(days=28)
