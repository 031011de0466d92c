"""Without a filter the list is read from the newest referral down, until two passes agree; nothing is lost that stays.

The server here is in memory and pages by offset in the worst way; what the local Microsoft does is in `test_scan` and
in the state machine.
"""

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from partner_center_pipeline.partner_center import (
    Capability,
    DateLiteral,
    PageQuery,
    ReferralsClient,
    ScanIncomplete,
    scan,
)
from partner_center_pipeline.partner_center.client import Page
from partner_center_pipeline.partner_center.errors import ApiRefused, FilterRefused
from partner_center_pipeline.partner_center.unfiltered_scan import MAX_PASSES
from partner_center_pipeline.referral import ScanPage
from partner_center_pipeline.windows import BEGINNING, TICKS_PER_SECOND, parse_ticks, render_ticks
from partner_center_pipeline_tests.partner_center.conftest import START, PatientClock

LOW = parse_ticks("2026-01-01T00:00:00Z")
END = LOW + 100 * TICKS_PER_SECOND
NOW = END + 3600 * TICKS_PER_SECOND


class ListServer(ReferralsClient):
    """A server in memory that refuses filters, and whose pages count offsets from the newest row.

    Just before request n (from 0), `changes[n]` happens to the row of that number: "touch" takes it to the top,
    "vanish" takes it away, "new" puts another one on top. `skip` is what it makes of `$skip`.
    """

    def __init__(
        self,
        ticks: Sequence[int],
        page_size: int = 3,
        *,
        links: bool = True,
        cap: int = 1000,
        skip: str = "taken",
        changes: dict[int, tuple[str, int]] | None = None,
    ) -> None:
        self.page_size = page_size
        self.clock = PatientClock()
        self.capability = Capability(None, START)
        self.seconds_waited = 0.0
        self.rows = {f"r{number}": tick for number, tick in enumerate(ticks)}
        self.requests = 0
        self._links = links
        self._cap = cap
        self._skip = skip
        self._changes = changes or {}

    def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
        self._change(*self._changes.get(self.requests, ("", 0)))
        self.requests += 1
        if isinstance(request, PageQuery):
            if request.has_dates:
                self.capability = Capability(None, START)
                raise FilterRefused("no filter", status=400)
            if request.skip and self._skip == "refused":
                raise ApiRefused("no skip", status=400)
            offset, top = request.skip if self._skip == "taken" else 0, request.top
            descending = request.descending
        else:
            offset, top = (int(part) for part in request.split(":"))
            descending = True
        listed = sorted(self.rows, key=lambda each: (self.rows[each], each), reverse=descending)
        size = min(top, self._cap)
        items = [self._row(each) for each in listed[offset : offset + size]]
        onward = offset + size
        link = f"{onward}:{top}" if self._links and onward < len(listed) else None
        return Page(items, link, NOW, 0.0, None)

    def _change(self, what: str, number: int) -> None:
        here = sorted(self.rows)
        if what == "new":
            self.rows[f"new{self.requests}"] = NOW + self.requests
        elif what and here:
            chosen = here[number % len(here)]
            if what == "touch":
                self.rows[chosen] = NOW + self.requests
            else:
                del self.rows[chosen]

    def _row(self, referral_id: str) -> dict[str, Any]:
        ticks = self.rows[referral_id]
        return {"id": referral_id, "updatedDateTime": render_ticks(ticks), "eTag": f'"{ticks}"'}


def scanned(server: ListServer, start: int | None = LOW) -> list[ScanPage]:
    return list(scan(server, start=start, end=END, not_before=NOW))


def delivered(pages: Sequence[ScanPage]) -> list[str]:
    return [version.referral_id for page in pages for version in page.versions]


def inside(server: ListServer) -> set[str]:
    """The rows that stayed in the interval."""
    return {each for each, ticks in server.rows.items() if LOW <= ticks < END}


_ticks = st.lists(st.integers(-3, 12).map(lambda number: LOW + number * 10 * TICKS_PER_SECOND), max_size=16)
"""Instants around the interval, with ties."""


@pytest.mark.slow
@settings(max_examples=400)
@given(
    ticks=_ticks,
    page_size=st.integers(1, 5),
    links=st.booleans(),
    cap=st.sampled_from((1, 2, 1000)),
    changes=st.dictionaries(
        st.integers(1, 15), st.tuples(st.sampled_from(("touch", "vanish", "new")), st.integers(0, 20)), max_size=4
    ),
)
@example(  # a row that was read vanishes: the next page begins one row too low
    ticks=[LOW + number for number in range(6)], page_size=2, links=True, cap=1000, changes={1: ("vanish", 5)}
)
@example(  # the server sends fewer rows than it is asked for, and no link
    ticks=[LOW + number for number in range(6)], page_size=5, links=False, cap=2, changes={}
)
@example(  # new rows move the first page down to where `$skip` leads, in both passes
    ticks=[LOW, LOW + 1], page_size=2, links=False, cap=1, changes={1: ("new", 0), 3: ("new", 0)}
)
def test_every_row_that_stays_is_delivered_whatever_moves_or_vanishes_between_pages(
    ticks: list[int], page_size: int, links: bool, cap: int, changes: dict[int, tuple[str, int]]
) -> None:
    server = ListServer(ticks, page_size, links=links, cap=cap, changes=changes)
    pages = scanned(server)
    assert inside(server) <= set(delivered(pages))
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert [page.position for page in pages] == [LOW] * (len(pages) - 1) + [END]
    for page in pages:
        assert all(LOW <= version.updated_ticks < END for version in page.versions)


def test_a_quiet_interval_costs_two_passes_that_stop_below_its_start() -> None:
    below = [LOW - 3 * number * TICKS_PER_SECOND for number in range(1, 51)]
    server = ListServer([*below, LOW, LOW + 1, END], page_size=3)
    pages = scanned(server)
    assert delivered(pages) == ["r51", "r50"]
    assert server.requests == 4


def test_a_list_that_never_rests_still_agrees() -> None:
    """At each request an old referral is updated: the pass finds it on top, and needs no quiet minute."""
    ticks = [LOW + number for number in range(300)]
    server = ListServer(ticks, page_size=10, changes={number: ("touch", 7 * number) for number in range(2000)})
    pages = scanned(server)
    assert inside(server) <= set(delivered(pages))
    assert pages[-1].last


def test_a_list_that_shows_more_with_each_pass_is_read_until_it_shows_nothing_new() -> None:
    """A pass that meets rows which the one before had missed shows that passes miss rows."""

    class Revealing(ListServer):
        passes = 0

        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            if isinstance(request, PageQuery) and not request.skip and not request.has_dates:
                self.passes += 1
            page = super().get_page(request)
            hidden = {1: ("r1", "r2"), 2: ("r1",)}.get(self.passes, ())
            return replace(page, items=[item for item in page.items if item["id"] not in hidden])

    server = Revealing([LOW + number for number in range(5)], page_size=3)
    assert set(delivered(scanned(server))) == {"r0", "r1", "r2", "r3", "r4"}


def test_an_account_from_whose_sight_rows_keep_vanishing_ends_as_incomplete() -> None:
    ticks = [LOW + number for number in range(300)]
    server = ListServer(ticks, page_size=10, changes={number: ("vanish", 7 * number) for number in range(2000)})
    with pytest.raises(ScanIncomplete, match=f"{MAX_PASSES} passes") as incomplete:
        scanned(server)
    assert incomplete.value.transient


def test_a_row_is_delivered_once_although_it_is_read_in_every_pass() -> None:
    server = ListServer([LOW + number for number in range(20)], page_size=6)
    ids = delivered(scanned(server))
    assert len(ids) == len(set(ids)) == 20


@pytest.mark.parametrize("skip", ["refused", "passed over"])
@pytest.mark.parametrize("rows", [1, 3, 4, 11])
def test_where_there_is_neither_a_link_nor_skip_larger_pages_are_asked_for(skip: str, rows: int) -> None:
    server = ListServer([LOW + number for number in range(rows)], page_size=3, links=False, skip=skip)
    assert len(set(delivered(scanned(server)))) == rows


@pytest.mark.parametrize("skip", ["refused", "ignored"])
@pytest.mark.parametrize("undated", [0, 11, 12])
def test_where_both_ends_show_only_rows_that_no_window_knows_the_middle_is_not_taken_for_empty(
    skip: str, undated: int
) -> None:
    class Undated(ListServer):
        """Rows of the instant 0 have no date: they are the oldest, as null is in OData."""

        def _row(self, referral_id: str) -> dict[str, Any]:
            dated = super()._row(referral_id)
            return dated if self.rows[referral_id] else dated | {"updatedDateTime": None}

    future = [NOW + number * 3600 * TICKS_PER_SECOND for number in range(1, 13)]
    server = Undated(
        [*future, *(LOW + number for number in range(5)), *[0] * undated], 200, links=False, cap=12, skip=skip
    )
    with pytest.raises(ScanIncomplete):
        scanned(server)


def test_genesis_reads_the_list_to_its_end() -> None:
    server = ListServer([BEGINNING, LOW, END - 1], page_size=2)
    assert sorted(delivered(scanned(server, start=None))) == ["r0", "r1", "r2"]


def test_an_api_that_stops_filtering_in_mid_scan_is_read_on_from_the_proven_row() -> None:
    class Forgetful(ListServer):
        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            if self.requests or isinstance(request, str) or not request.has_dates:
                return super().get_page(request, tries=tries)
            self.requests += 1
            return Page([self._row("r0"), self._row("r1")], None, NOW, 0.0, None)

    server = Forgetful([LOW + 9 * number * TICKS_PER_SECOND for number in range(3)], page_size=2)
    server.capability = Capability(DateLiteral.BARE, START)
    pages = scanned(server)
    assert delivered(pages) == ["r0", "r1", "r2", "r1"]
    assert [page.position for page in pages][:2] == [LOW + 8 * TICKS_PER_SECOND] * 2


def test_a_remembered_lack_of_a_filter_is_asked_again_if_the_order_is_refused() -> None:
    class Changed(ListServer):
        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            if isinstance(request, PageQuery) and request.descending:
                raise ApiRefused("no such order", status=400)
            assert isinstance(request, PageQuery)
            rows = [each for each in sorted(inside(self)) if self.rows[each] >= (request.updated_from or 0)]
            return Page([self._row(each) for each in rows[: request.top]], None, NOW, 0.0, None)

    server = Changed([LOW, LOW + 1, LOW + 2], page_size=10)
    assert delivered(scanned(server)) == ["r0", "r1", "r2"]
    assert server.capability is None


def test_a_pass_that_meets_a_loop_starts_again_and_then_gives_up() -> None:
    class Looping(ListServer):
        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            return replace(super().get_page(request, tries=tries), next_link="1:1")

    with pytest.raises(ScanIncomplete, match="lead nowhere"):
        scanned(Looping([LOW + number for number in range(9)], page_size=2))


class Long(ListServer):
    """A quiet list of `count` referrals of one interval, pages of 100."""

    count: int

    def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
        offset = request.skip if isinstance(request, PageQuery) else int(request)
        onward = min(offset + 100, self.count)
        items = [
            {"id": f"r{number}", "updatedDateTime": render_ticks(END - 1 - number), "eTag": "x"}
            for number in range(offset, onward)
        ]
        return Page(items, str(onward) if onward < self.count else None, NOW, 0.0, None)


def peak_memory(count: int) -> int:
    """Bytes that a scan of `count` rows needs at most."""
    server = Long([], 100)
    server.count = count
    tracemalloc.start()
    try:
        assert sum(len(page.versions) for page in scan(server, start=None, end=END, not_before=NOW)) == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_row_costs_some_tens_of_bytes_of_memory_until_the_scan_ends() -> None:
    """The memory that windows.md, "Why a scan is complete", 9 names: 16 bytes a row, twice, and 40 for a moment."""
    assert (peak_memory(10_000) - peak_memory(4000)) / 6000 < 90
