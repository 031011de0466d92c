"""Pages that go wrong, and what Microsoft leaves open about them (partner_center_api.md, sections 2 and 9)."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from partner_center_pipeline.windows import parse_ticks
from partner_center_pipeline_tests.simulator.conftest import ANCHOR, PATH, REFERRALS, Api, client_of, onward
from partner_center_simulator import Simulator, SimulatorClock
from partner_center_simulator.odata import DateComparison

ASKED = {"orderby": "updatedDateTime asc", "top": "10"}
WINDOW = ASKED | {"filter": "updatedDateTime ge 2026-03-02T00:30:00Z and updatedDateTime lt 2026-03-02T09:30:00Z"}


@pytest.fixture
def moving() -> Iterator[Api]:
    """A local Microsoft of its own, ten minutes after the window's end."""
    clock = SimulatorClock(ANCHOR + timedelta(minutes=10), frozen=True)
    sim = Simulator(seed=11, anchor=ANCHOR, referrals=REFERRALS, recent_from=ANCHOR - timedelta(hours=9), clock=clock)
    with sim, client_of(sim) as http:
        yield Api(sim, http)


def ids(api: Api, **options: str) -> list[str]:
    return [row["id"] for row in api.rows(**options)]


# The drift defect


def test_offsets_lose_a_row_for_each_row_that_leaves_the_filter_meanwhile(moving: Api) -> None:
    """Section 2, quirk 5, and why a scan of a filter must not page by offset."""
    before = ids(moving, **WINDOW)
    moving.sim.faults.offset_paging = moving.sim.faults.touch_between_pages = True
    seen = ids(moving, **WINDOW)
    lost = set(before) - set(seen)
    assert lost
    assert len(seen) == len(set(seen))
    still_there = set(ids(moving, **WINDOW))
    assert lost <= still_there


def test_offsets_alone_lose_nothing(moving: Api) -> None:
    before = ids(moving, **WINDOW)
    moving.sim.faults.offset_paging = True
    assert ids(moving, **WINDOW) == before


def test_places_in_the_order_lose_nothing_when_rows_leave_the_filter(moving: Api) -> None:
    before = ids(moving, **WINDOW)
    moving.sim.faults.touch_between_pages = True
    assert ids(moving, **WINDOW) == before
    moving.sim.faults.clear()
    assert len(ids(moving, **WINDOW)) == len(before) - (len(before) - 1) // 10


@pytest.mark.slow
def test_a_touched_row_comes_again_when_nothing_bounds_the_scan_and_the_scan_ends(moving: Api) -> None:
    moving.sim.faults.touch_between_pages = True
    rows = ids(moving, orderby="updatedDateTime asc", top="1")
    assert len(set(rows)) == REFERRALS
    assert REFERRALS < len(rows) <= 2 * REFERRALS


# Rows and pages


def test_pages_that_come_twice(api: Api) -> None:
    clean = ids(api, **WINDOW)
    api.sim.faults.duplicate_pages = True
    twice = ids(api, **WINDOW)
    assert twice[:20] == clean[:10] * 2
    assert len(twice) == 2 * len(clean)
    assert list(dict.fromkeys(twice)) == clean


def test_rows_of_a_page_in_the_opposite_order(api: Api) -> None:
    clean = ids(api, **WINDOW)
    api.sim.faults.reordered_rows = True
    assert ids(api, **WINDOW)[:10] == clean[:10][::-1]
    assert sorted(ids(api, **WINDOW)) == sorted(clean)


def test_a_row_that_is_held_back_comes_out_of_order_and_no_row_is_lost(api: Api) -> None:
    clean = ids(api, **WINDOW)
    api.sim.faults.out_of_order_row = True
    rows = api.rows(**WINDOW)
    assert [row["id"] for row in rows] != clean
    assert sorted(row["id"] for row in rows) == sorted(clean)
    stamps = [parse_ticks(row["updatedDateTime"]) for row in rows]
    assert stamps != sorted(stamps)


def test_a_row_is_in_lists_only_some_seconds_after_its_update(moving: Api) -> None:
    moving.sim.faults.late_visible_seconds = 30
    row = moving.sim.create({"name": "Geç"})
    asked = {"filter": "name eq 'Geç'"}
    assert ids(moving, **asked) == []
    assert moving.get(f"{PATH}/{row['id']}").status_code == 200
    moving.sim.clock.advance(29.9)
    assert ids(moving, **asked) == []
    moving.sim.clock.advance(0.1)
    assert ids(moving, **asked) == [row["id"]]


# Links


@pytest.mark.parametrize(
    ("switches", "begins"),
    [
        ((), "http://localhost:{port}/v1.0/referrals?"),
        (("next_link_https",), "https://localhost:{port}/v1.0/referrals?"),
        (("next_link_engagements",), "http://localhost:{port}/v1.0/engagements/referrals?"),
        (("next_link_plain",), "https://localhost:{port}/v1.0/engagements/referrals?"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_a_next_link_has_each_of_its_forms(api: Api, switches: tuple[str, ...], begins: str) -> None:
    for switch in switches:
        setattr(api.sim.faults, switch, True)
    port = api.sim.base_url.rpartition(":")[2]
    assert api.get(**ASKED).json()["@odata.nextLink"].startswith(begins.replace("{port}", port))


def test_a_link_can_be_missing_although_more_rows_follow(api: Api) -> None:
    api.sim.faults.next_link_missing = True
    body = api.get(**WINDOW).json()
    assert len(body["value"]) == 10
    assert "@odata.nextLink" not in body


def test_a_link_can_lead_back_to_the_first_page(api: Api) -> None:
    api.sim.faults.next_link_back = True
    first = api.get(**ASKED).json()
    second = api.get(onward(first["@odata.nextLink"])).json()
    third = api.get(onward(second["@odata.nextLink"])).json()
    assert first["value"] == third["value"] != second["value"]


def test_the_life_of_a_skiptoken_is_a_switch(api: Api) -> None:
    link = onward(api.get(**ASKED).json()["@odata.nextLink"])
    api.sim.faults.skiptoken_lifetime_seconds = 60
    api.sim.clock.advance(60)
    assert api.get(link).status_code == 200
    api.sim.clock.advance(1)
    assert api.get(link).status_code == 400


# Assumptions


def test_a_filter_on_updated_may_be_refused_and_others_not(api: Api) -> None:
    api.sim.faults.filter_updated_refused = True
    response = api.get(filter="status eq 'New' and (updatedDateTime ge 2026-01-01T00:00:00Z)")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalidRequest")
    assert "updatedDateTime" in response.json()["error"]["message"]
    assert api.get(filter="createdDateTime ge 2026-01-01T00:00:00Z").status_code == 200
    assert api.get(orderby="updatedDateTime desc").status_code == 200


def test_ordering_by_updated_may_be_refused(api: Api) -> None:
    api.sim.faults.orderby_updated_refused = True
    assert api.get(orderby="updatedDateTime desc").status_code == 400
    assert api.get(orderby="createdDateTime desc").status_code == 200


def test_top_may_be_the_total_and_pages_the_servers_own(api: Api) -> None:
    clean = ids(api, orderby="updatedDateTime asc")
    api.sim.faults.top_is_total = True
    assert ids(api, orderby="updatedDateTime asc", top="120") == clean[:120]
    assert len(api.get(orderby="updatedDateTime asc", top="120").json()["value"]) == 50
    assert ids(api, orderby="updatedDateTime asc", top="7") == clean[:7]
    assert ids(api, orderby="updatedDateTime asc") == clean


def test_the_largest_page_is_a_switch(api: Api) -> None:
    clean = ids(api, **WINDOW)
    api.sim.faults.largest_page = 3
    assert len(api.get(**WINDOW).json()["value"]) == 3
    assert ids(api, **WINDOW) == clean


def test_the_count_is_the_pages_or_the_total(api: Api) -> None:
    total = len(ids(api, **WINDOW))
    assert api.get(**WINDOW).json()["@odata.count"] == 10
    api.sim.faults.count_is_total = True
    assert api.get(**WINDOW).json()["@odata.count"] == total


def test_a_request_without_an_id_may_be_refused(api: Api, http: httpx.Client) -> None:
    api.sim.faults.client_request_id_required = True
    assert api.get().status_code == 400
    headers = {"Authorization": f"Bearer {api.sim.entra.issue()}", "client-request-id": "1"}
    assert http.get(PATH, headers=headers).status_code == 200


# How instants are compared


def put_at(sim: Simulator, second: str, *fractions: str) -> None:
    """Let referrals be there that differ in the fraction of their second; each is named after it."""
    for fraction in fractions:
        row = sim.world.create(parse_ticks(f"{second}Z"), {"updatedDateTime": f"{second}{fraction}Z"})
        sim.world.change(row["id"], 0, {"name": fraction or "whole", "updatedDateTime": row["updatedDateTime"]})


@pytest.mark.parametrize(
    ("compares", "asked", "found"),
    [
        (DateComparison.EXACT, "ge 2001-01-01T00:00:00.0004Z", {".0005Z", ".0015Z", ".5Z"}),
        (DateComparison.MILLISECONDS_ROUNDED, "ge 2001-01-01T00:00:00.0006Z", {".0005Z", ".0015Z", ".5Z"}),
        (DateComparison.MILLISECONDS_ROUNDED, "lt 2001-01-01T00:00:00.001Z", {"Z"}),
        (DateComparison.MILLISECONDS_CUT, "lt 2001-01-01T00:00:00.0015Z", {"Z", ".0005Z"}),
        (DateComparison.MILLISECONDS_CUT, "gt 2001-01-01T00:00:00.0001Z", {".0015Z", ".5Z"}),
        (DateComparison.SECONDS_CUT, "ge 2001-01-01T00:00:00.9Z", {"Z", ".0005Z", ".0015Z", ".5Z"}),
        (DateComparison.SECONDS_CUT, "lt 2001-01-01T00:00:00.9Z", set()),
        (DateComparison.TEXT, "ge 2001-01-01T00:00:00Z", {"Z"}),
        (DateComparison.TEXT, "lt 2001-01-01T00:00:00Z", {".0005Z", ".0015Z", ".5Z"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_filter_compares_instants_as_the_switch_says(
    moving: Api, compares: DateComparison, asked: str, found: set[str]
) -> None:
    put_at(moving.sim, "2001-01-01T00:00:00", "", ".0005", ".0015", ".5")
    moving.sim.faults.compares = compares
    rows = moving.rows(filter=f"updatedDateTime lt 2002-01-01T00:00:00Z and updatedDateTime {asked}")
    assert {row["updatedDateTime"].removeprefix("2001-01-01T00:00:00") for row in rows} == found


@pytest.mark.slow
@pytest.mark.parametrize("compares", list(DateComparison)[1:])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_rows_come_in_the_order_of_the_coarse_comparison_and_none_is_lost(
    moving: Api, compares: DateComparison, direction: str
) -> None:
    put_at(moving.sim, "2026-03-02T09:20:00", "", *(f".{number:07}" for number in range(1, 9_999_999, 999_983)))
    clean = ids(moving, orderby="updatedDateTime asc")
    moving.sim.faults.compares = compares
    rows = moving.rows(orderby=f"updatedDateTime {direction}", top="7")
    keys = [compares.key(parse_ticks(row["updatedDateTime"])) for row in rows]
    assert keys == sorted(keys, reverse=direction == "desc")
    assert sorted(row["id"] for row in rows) == sorted(clean)
    assert [row["id"] for row in rows] != clean


# What is passed over or refused


def test_a_dead_link_answers_with_an_empty_list_and_leads_nowhere(api: Api) -> None:
    api.sim.faults.next_link_dead = True
    response = api.get(onward(api.get(**WINDOW).json()["@odata.nextLink"]))
    assert response.status_code == 200
    assert response.json()["value"] == []
    assert "@odata.nextLink" not in response.json()


def test_skip_may_be_passed_over_or_refused(api: Api) -> None:
    first = api.get(**WINDOW).json()["value"]
    assert api.get(**WINDOW, skip="5").json()["value"] != first
    api.sim.faults.skip_ignored = True
    assert api.get(**WINDOW, skip="5").json()["value"] == first
    api.sim.faults.skip_refused = True
    assert api.get(**WINDOW, skip="5").status_code == 400
    assert api.get(**WINDOW).status_code == 200


@pytest.mark.parametrize("compares", DateComparison)
def test_a_filter_on_updated_may_be_passed_over_and_others_not(api: Api, compares: DateComparison) -> None:
    some = ids(api, filter="status eq 'New'")
    api.sim.faults.compares = compares
    api.sim.faults.filter_ignored = True
    asked = "updatedDateTime ge 2026-03-02T09:00:00Z and updatedDateTime lt 2026-03-02T09:10:00Z"
    assert len(ids(api, filter=asked)) == REFERRALS
    assert sorted(ids(api, filter=f"{asked} and status eq 'New'")) == sorted(some)


def test_the_order_asked_for_may_be_passed_over(api: Api) -> None:
    newest_first = ids(api, orderby="updatedDateTime desc")
    api.sim.faults.orderby_ignored = True
    assert ids(api, orderby="updatedDateTime asc") == newest_first
    assert ids(api, orderby="createdDateTime asc") == newest_first
