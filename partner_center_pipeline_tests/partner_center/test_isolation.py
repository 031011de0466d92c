"""A row that the server cannot send: all others are delivered, and an entry stands for it, the same in each scan."""

import itertools
import json

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from partner_center_pipeline.partner_center import scan
from partner_center_pipeline.partner_center.capability import Capability
from partner_center_pipeline.partner_center.errors import ApiRefused, Unreachable
from partner_center_pipeline.partner_center.isolation import MOST_IN_A_SCAN
from partner_center_pipeline.partner_center.odata import DateLiteral
from partner_center_pipeline.referral import Breach, RejectedRow, ScanPage
from partner_center_pipeline.windows import TICKS_PER_SECOND, parse_ticks, render_ticks
from partner_center_pipeline_tests.partner_center.conftest import START, PatientClock
from partner_center_pipeline_tests.partner_center.test_scan import HOUR, NOW, client_of, delivered, row
from partner_center_simulator import HttpFault, Simulator

_hours = itertools.count(parse_ticks("2003-01-01T00:00:00Z"), HOUR)


def rejected(pages: list[ScanPage]) -> dict[str, RejectedRow]:
    return {entry.fingerprint: entry for page in pages for entry in page.rejected}


def read(
    sim: Simulator, http: httpx.Client, start: int, page_size: int, clock: PatientClock | None = None
) -> list[ScanPage]:
    client = client_of(sim, http, page_size, clock)
    client.capability = Capability(DateLiteral.BARE, START)
    return list(scan(client, start=start, end=start + HOUR, not_before=NOW))


@pytest.mark.slow
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    offsets=st.lists(st.integers(0, 6), min_size=1, max_size=14),
    poisoned=st.sets(st.integers(0, 13), min_size=1, max_size=3),
    page_size=st.integers(1, 6),
)
@example(offsets=[3], poisoned={0}, page_size=5)
@example(offsets=[0, 1, 2, 3, 4], poisoned={4}, page_size=5)
@example(offsets=[0, 1, 2, 3, 4], poisoned={0}, page_size=2)
@example(offsets=[2] * 9, poisoned={7}, page_size=3)
@example(offsets=[0, 2, 2, 2, 5, 5], poisoned={2, 3}, page_size=10)
@example(offsets=[1, 1, 3, 4], poisoned={1, 2}, page_size=2)
def test_all_other_rows_are_delivered_and_an_entry_tells_the_instant(
    sim: Simulator, http: httpx.Client, offsets: list[int], poisoned: set[int], page_size: int
) -> None:
    start = next(_hours)
    ids = [f"{start}-{number}" for number in range(len(offsets))]
    for referral_id, offset in zip(ids, offsets, strict=True):
        sim.world.put(row(referral_id, start + offset * TICKS_PER_SECOND))
    bad = {ids[number] for number in poisoned if number < len(ids)}
    sim.faults.poisoned_rows = frozenset(bad)
    first, second = read(sim, http, start, page_size), read(sim, http, start, page_size)
    sim.faults.clear()
    assert sorted(delivered(first)) == sorted(set(ids) - bad)
    assert first[-1].last
    entries = rejected(first)
    assert sorted(entry.earliest or 0 for entry in entries.values()) == sorted(
        start + offsets[number] * TICKS_PER_SECOND for number in poisoned if number < len(ids)
    )
    assert {entry.reason for entry in entries.values()} <= {Breach.UNREADABLE}
    assert entries.keys() == rejected(second).keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page_size", "at_one_instant", "poisoned"),
    [(3, 9, {7}), (3, 25, {20}), (12, 25, {20}), (3, 25, {5, 20, 22}), (3, 9, {7, 30})],
)
def test_no_row_behind_it_is_passed_over_where_no_page_has_a_link(
    page_size: int, at_one_instant: int, poisoned: set[int], sim: Simulator, http: httpx.Client
) -> None:
    """Read around it, a page brings all rows of its instant again, and `$skip` may not count those twice."""
    start = next(_hours)
    ids = [f"{start}-{number:02}" for number in range(60)]
    for number, referral_id in enumerate(ids):  # all in one second
        sim.world.put(row(referral_id, start + TICKS_PER_SECOND + max(0, number - at_one_instant)))
    bad = {ids[number] for number in poisoned}
    sim.faults.poisoned_rows, sim.faults.next_link_missing = frozenset(bad), True
    pages = read(sim, http, start, page_size)
    assert set(delivered(pages)) == set(ids) - bad
    assert len(rejected(pages)) == len(bad)


@pytest.mark.parametrize("status", [400, 500])
def test_an_entry_holds_what_is_known_and_no_payload(status: int, sim: Simulator, http: httpx.Client) -> None:
    start = next(_hours)
    for number in range(5):
        sim.world.put(row(f"{start}-{number}", start + number * TICKS_PER_SECOND))
    sim.faults.poisoned_rows, sim.faults.poison_status = frozenset({f"{start}-3"}), status
    clock = PatientClock()
    pages = read(sim, http, start, 10, clock)
    assert delivered(pages) == [f"{start}-{number}" for number in (0, 1, 2, 4)]
    (entry,) = rejected(pages).values()
    known = json.loads(entry.payload_text)
    assert known.pop("requestId")
    assert known == {
        "updatedDateTime": render_ticks(start + 3 * TICKS_PER_SECOND),
        "number": 1,
        "previousRowUpdatedDateTime": render_ticks(start + 2 * TICKS_PER_SECOND),
        "skip": 0,
        "status": status,
    }
    assert clock.monotonic() < 60


@pytest.mark.parametrize("status", [400, 500])
def test_without_a_filter_rows_around_it_are_delivered_too(status: int, sim: Simulator, http: httpx.Client) -> None:
    start = NOW - HOUR
    ids = [f"{start}-{status}-{number}" for number in range(7)]
    for number, referral_id in enumerate(ids):
        sim.world.put(row(referral_id, start + number * 60 * TICKS_PER_SECOND))
    sim.faults.poisoned_rows, sim.faults.poison_status = frozenset({ids[4]}), status
    client = client_of(sim, http, 3)
    client.capability = Capability(None, START)
    pages = list(scan(client, start=start, end=NOW, not_before=NOW))
    assert {*ids[:4], *ids[5:]} <= set(delivered(pages))
    (entry,) = rejected(pages).values()
    assert (entry.earliest or 0) <= start + 4 * 60 * TICKS_PER_SECOND <= (entry.latest or NOW)


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("filtered", [True, False])
def test_a_page_that_is_too_large_for_the_server_is_asked_for_in_parts(
    status: int, filtered: bool, sim: Simulator, http: httpx.Client
) -> None:
    start = NOW - 2 * HOUR
    ids = [f"{start}-{status}-{filtered}-{number}" for number in range(25)]
    for number, referral_id in enumerate(ids):
        sim.world.put(row(referral_id, start + number // 2 * TICKS_PER_SECOND))
    sim.faults.rows_refused_above, sim.faults.poison_status = 4, status
    client = client_of(sim, http, 100)
    client.capability = Capability(DateLiteral.BARE if filtered else None, START)
    pages = list(scan(client, start=start, end=NOW, not_before=NOW))
    assert set(ids) <= set(delivered(pages))
    assert rejected(pages) == {}


def test_a_poisoned_row_does_not_make_the_api_look_like_one_without_the_filter(
    sim: Simulator, http: httpx.Client
) -> None:
    start = next(_hours)
    sim.world.put(row(f"{start}-1", start))
    sim.faults.poisoned_rows = frozenset({f"{start}-1"})
    client = client_of(sim, http, 10)
    pages = list(scan(client, start=start, end=start + HOUR, not_before=NOW))
    assert len(rejected(pages)) == 1
    assert client.capability == Capability(DateLiteral.BARE, START)


def test_a_server_that_refuses_everything_is_no_rows_fault(sim: Simulator, http: httpx.Client) -> None:
    sim.faults.plan(HttpFault.SERVER_ERROR, times=10_000, status=507)
    with pytest.raises(ApiRefused):
        read(sim, http, next(_hours), 10)
    sim.faults.clear()
    sim.faults.plan(HttpFault.SERVER_ERROR, times=10_000)
    clock = PatientClock()
    with pytest.raises(Unreachable):
        read(sim, http, next(_hours), 10, clock)
    assert clock.monotonic() > 250, "it was tried until the deadline"


@pytest.mark.slow
def test_too_many_unreadable_rows_are_no_single_rows_fault(sim: Simulator, http: httpx.Client) -> None:
    start = next(_hours)
    ids = [f"{start}-{number}" for number in range(MOST_IN_A_SCAN + 5)]
    for number, referral_id in enumerate(ids):
        sim.world.put(row(referral_id, start + number * TICKS_PER_SECOND))
    sim.faults.poisoned_rows = frozenset(ids)
    with pytest.raises(ApiRefused, match=f"refuses more than {MOST_IN_A_SCAN} referrals"):
        read(sim, http, start, 10)
