"""The whole list is read from either end until two passes agree: what stays is shown, or nothing is claimed.

The server here is in memory and pages by offset in the worst way; the last tests ask the local Microsoft.
"""

import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_center_pipeline.partner_center import (
    Capability,
    PageQuery,
    ReferralsClient,
    ScanIncomplete,
    TooEarly,
    WholeList,
)
from partner_center_pipeline.partner_center.client import Page
from partner_center_pipeline.partner_center.errors import ApiRefused
from partner_center_pipeline.partner_center.http import build_http
from partner_center_pipeline.referral import ScanPage
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.windows import TICKS_PER_SECOND, parse_ticks, render_ticks
from partner_center_pipeline_tests.partner_center.conftest import START, PatientClock
from partner_center_pipeline_tests.partner_center.test_scan import NOW as SIMULATOR_NOW
from partner_center_pipeline_tests.partner_center.test_scan import client_of, in_world
from partner_center_simulator import Simulator

LOW = parse_ticks("2026-01-01T00:00:00Z")
LAG = 120 * TICKS_PER_SECOND
END = LOW + 100 * TICKS_PER_SECOND
NOW = END + 3600 * TICKS_PER_SECOND


class ListServer(ReferralsClient):
    """A server in memory, whose pages count offsets in the order of creation. It refuses dates in a filter.

    Just before request n (from 0), `changes[n]` happens to the row of that number: "vanish" takes it away, "new" makes
    another one. From row `dead_after` on a link leads to an empty page without a link. `cap` rows are in a page at
    most. `skip` is what it makes of `$skip`. `unlisted` rows come only with a filter by direction and status.
    """

    def __init__(
        self,
        count: int,
        page_size: int = 3,
        *,
        links: bool = True,
        dead_after: int | None = None,
        cap: int = 1000,
        skip: str = "taken",
        unlisted: frozenset[int] = frozenset(),
        changes: dict[int, tuple[str, int]] | None = None,
    ) -> None:
        self.page_size = page_size
        self.clock = PatientClock()
        self.capability = Capability(None, START)
        self.seconds_waited = 0.0
        self.rows = {f"r{number}": LOW + number // 2 for number in range(count)}
        self.queries: list[PageQuery] = []
        self.requests = 0
        self._links = links
        self._dead_after = dead_after
        self._cap = cap
        self._skip = skip
        self._unlisted = {f"r{number}" for number in unlisted}
        self._changes = changes or {}

    def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
        self._change(*self._changes.get(self.requests, ("", 0)))
        self.requests += 1
        if isinstance(request, PageQuery):
            assert not request.has_dates
            self.queries.append(request)
            if request.skip and self._skip == "refused":
                raise ApiRefused("no skip", status=400)
            offset = request.skip if self._skip == "taken" else 0
            top, query = request.top, request
        else:
            first, second, third = (int(part) for part in request.split(":"))
            offset, top, query = first, second, replace(self.queries[-1], descending=bool(third), where="")
        listed = sorted(self.rows, key=lambda each: (self.rows[each], each), reverse=query.descending)
        if query.where:
            listed = [each for each in listed if "Incoming' and status eq 'New" in query.where]
        else:
            listed = [each for each in listed if each not in self._unlisted]
        size = min(top, self._cap)
        items = [self._row(each) for each in listed[offset : offset + size]]
        onward = offset + size
        link = f"{onward}:{top}:{int(query.descending)}" if self._links and onward < len(listed) else None
        if self._dead_after is not None and offset >= self._dead_after:
            items, link = [], None
        return Page(items, link, NOW, 0.0, None)

    def _change(self, what: str, which: int) -> None:
        if what == "vanish":
            self.rows.pop(f"r{which}", None)
        if what == "new":
            self.rows[f"n{which}"] = NOW + which

    def _row(self, referral_id: str) -> dict[str, Any]:
        created = render_ticks(self.rows[referral_id])
        return {"id": referral_id, "createdDateTime": created, "updatedDateTime": created}


def read(server: ListServer) -> tuple[WholeList, list[ScanPage]]:
    whole = WholeList(server, end=END, lag=LAG)
    return whole, list(whole.pages())


def ids(pages: Sequence[ScanPage]) -> set[str]:
    return {version.referral_id for page in pages for version in page.versions}


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 20])
def test_two_passes_from_either_end_show_everything(count: int, links: bool) -> None:
    server = ListServer(count, links=links)
    whole, pages = read(server)
    assert ids(pages) == set(server.rows)
    assert all(whole.shows(each) for each in server.rows)
    assert not whole.shows("another")
    assert {query.descending for query in server.queries if not query.where and not query.skip} == {False, True}
    assert all(query.by_created for query in server.queries)
    delivered = [version.referral_id for page in pages for version in page.versions]
    assert len(delivered) == len(set(delivered)), "the second pass brings nothing that the first one brought"


@pytest.mark.parametrize(
    "faults",
    [
        {"dead_after": 6},
        {"cap": 5, "links": False, "skip": "ignored"},
        {"cap": 5, "links": False, "skip": "refused"},
        {"unlisted": frozenset({19})},
    ],
    ids=["dead links", "capped, $skip ignored", "capped, $skip refused", "the list hides a row"],
)
def test_a_list_that_ends_too_soon_is_never_taken_for_whole(faults: dict[str, Any]) -> None:
    server = ListServer(20, **faults)
    with pytest.raises(ScanIncomplete, match="nothing is taken for vanished"):
        read(server)
    assert server.requests < 200


def test_what_a_filter_by_direction_and_status_shows_is_delivered_although_the_list_hides_it() -> None:
    pages = WholeList(ListServer(20, unlisted=frozenset({19})), end=END, lag=LAG).pages()
    found: set[str] = set()
    with suppress(ScanIncomplete):
        while True:
            found |= ids([next(pages)])
    assert found == {f"r{number}" for number in range(20)}


@pytest.mark.slow
@settings(max_examples=300)
@given(
    count=st.integers(0, 14),
    page_size=st.integers(1, 5),
    links=st.booleans(),
    changes=st.dictionaries(st.integers(0, 30), st.tuples(st.sampled_from(["vanish", "new"]), st.integers(0, 13))),
)
def test_whatever_comes_and_goes_meanwhile_what_stays_is_shown(
    count: int, page_size: int, links: bool, changes: dict[int, tuple[str, int]]
) -> None:
    server = ListServer(count, page_size, links=links, changes=changes)
    stays = set(server.rows) - {f"r{which}" for what, which in changes.values() if what == "vanish"}
    try:
        whole, pages = read(server)
    except ScanIncomplete:
        return
    assert {each for each in stays if not whole.shows(each)} == set()
    assert stays <= ids(pages)


def test_a_clock_that_is_not_past_the_end_and_the_lag_stops_it() -> None:
    with pytest.raises(TooEarly):
        list(WholeList(ListServer(3), end=NOW - LAG + 31 * TICKS_PER_SECOND, lag=LAG).pages())


@pytest.mark.slow
def test_memory_stays_below_a_hundred_bytes_a_referral() -> None:
    count = 20_000

    class Generated(ListServer):
        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            if isinstance(request, PageQuery):
                offset, descending = request.skip, request.descending
                if request.where:
                    return Page([], None, NOW, 0.0, None)
            else:
                first, second = request.split(":")
                offset, descending = int(first), second == "1"
            numbers = range(offset, min(offset + 100, count))
            rows = [count - 1 - number if descending else number for number in numbers]
            items = [
                {
                    "id": f"r{row}",
                    "createdDateTime": render_ticks(LOW + row),
                    "updatedDateTime": render_ticks(LOW + row),
                }
                for row in rows
            ]
            onward = f"{offset + 100}:{int(descending)}" if offset + 100 < count else None
            return Page(items, onward, NOW, 0.0, None)

    def total(pages: Iterator[ScanPage]) -> int:
        return sum(len(page.versions) for page in pages)

    whole = WholeList(Generated(0, 100), end=END, lag=LAG)
    tracemalloc.start()
    try:
        assert total(whole.pages()) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * count + 2_000_000


# Against the local Microsoft


@pytest.mark.slow
@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"filter_updated_refused": True, "orderby_updated_refused": True},
        {"next_link_missing": True},
        {"largest_page": 7},
        {"top_is_total": True},
        {"offset_paging": True, "touch_between_pages": True},
        {"duplicate_pages": True},
        {"duplicate_rows": True},
        {"reordered_rows": True},
        {"out_of_order_row": True},
    ],
    ids=lambda switches: ", ".join(switches) or "healthy",
)
def test_the_local_microsoft_is_read_whole_without_a_date_in_any_question(switches: dict[str, Any]) -> None:
    asked: list[str] = []
    with (
        Simulator(seed=7, anchor=START, referrals=300) as sim,
        build_http(Settings(partner_center_ca_bundle=sim.ca_bundle)) as http,
    ):
        for name, value in switches.items():
            setattr(sim.faults, name, value)
        http.event_hooks["request"].append(lambda request: asked.append(str(request.url)))
        whole = WholeList(client_of(sim, http, 40), end=SIMULATOR_NOW - LAG, lag=LAG)
        pages = list(whole.pages())
        there = set(in_world(sim, 0, SIMULATOR_NOW))
    assert {each for each in there if not whole.shows(each)} == set()
    assert there <= ids(pages)
    assert asked
    assert not any("updatedDateTime" in url for url in asked)


def test_a_referral_is_asked_for_by_its_id(sim: Simulator, http: httpx.Client) -> None:
    client = client_of(sim, http, 40)
    referral_id = next(iter(in_world(sim, 0, SIMULATOR_NOW)))
    assert client.shows(referral_id)
    assert not client.shows("nobody/../x?y")
    sim.faults.role_missing = True
    with pytest.raises(Exception, match="Referral Admin"):
        client.shows(referral_id)
