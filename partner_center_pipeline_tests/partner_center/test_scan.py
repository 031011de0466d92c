"""A scan of an interval delivers every referral that stays in it, or says that it is not complete."""

import itertools
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from partner_center_pipeline.partner_center import PageQuery, ReferralsClient, ScanIncomplete, TooEarly, scan
from partner_center_pipeline.partner_center.capability import Capability
from partner_center_pipeline.partner_center.client import Page
from partner_center_pipeline.partner_center.errors import ApiRefused, ForeignHost, Throttled, Unreachable
from partner_center_pipeline.partner_center.keyset_scan import MAX_RESTARTS
from partner_center_pipeline.referral import Breach, ScanPage
from partner_center_pipeline.windows import BEGINNING, TICKS_PER_SECOND, parse_ticks, render_ticks, ticks_of
from partner_center_pipeline_tests.partner_center.conftest import START, PatientClock
from partner_center_simulator import Simulator
from partner_center_simulator.faults import CorruptRow, HttpFault
from partner_center_simulator.odata import DateLiteral as Takes

NOW = ticks_of(START)
HOUR = 3600 * TICKS_PER_SECOND
LAST_YEAR = NOW - 400 * 24 * HOUR
"""From here on there is the local Microsoft's own year; the rows that tests make lie before."""
_hours = itertools.count(parse_ticks("2001-01-01T00:00:00Z"), HOUR)


def row(referral_id: str, ticks: int) -> dict[str, Any]:
    at = render_ticks(ticks)
    return {
        "id": referral_id,
        "createdDateTime": at,
        "updatedDateTime": at,
        "eTag": f'"{ticks}"',
        "status": "Active",
        "customerProfile": {},
    }


def client_of(sim: Simulator, http: httpx.Client, page_size: int, clock: PatientClock | None = None) -> ReferralsClient:
    def token(*, renew: bool = False) -> str:
        return sim.entra.issue()

    return ReferralsClient(http, token, sim.base_url, page_size, clock=clock or PatientClock())


def delivered(pages: Sequence[ScanPage]) -> list[str]:
    return [version.referral_id for page in pages for version in page.versions]


def in_world(sim: Simulator, start: int, end: int) -> list[str]:
    return [each["id"] for each in sim.world.all() if start <= parse_ticks(each["updatedDateTime"]) < end]


def check_promises(pages: Sequence[ScanPage], times: dict[str, int], stayed: set[str], start: int, end: int) -> None:
    """What a finished scan promises, whatever moved meanwhile."""
    ids = delivered(pages)
    assert stayed <= set(ids)
    assert len(ids) == len(set(ids))
    assert all(start <= times[referral_id] < end for referral_id in ids)
    positions = [page.position for page in pages]
    assert positions == sorted(positions)
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert positions[-1] == end
    for number, page in enumerate(pages):
        due = {each for each in stayed if times[each] < page.position}
        assert due <= set(delivered(pages[: number + 1]))


# Against the local Microsoft


@pytest.mark.parametrize("page_size", [7, 50, 1000])
def test_genesis_delivers_the_whole_world_in_order(sim: Simulator, http: httpx.Client, page_size: int) -> None:
    pages = list(scan(client_of(sim, http, page_size), start=None, end=NOW, not_before=NOW))
    ids = delivered(pages)
    assert sorted(ids) == sorted(in_world(sim, BEGINNING, NOW))
    assert pages[-1].last
    assert pages[-1].position == NOW
    ticks = [version.updated_ticks for page in pages for version in page.versions]
    assert ticks == sorted(ticks)


def test_an_empty_interval_is_one_last_page_after_a_second_look_without_the_filter(
    sim: Simulator, http: httpx.Client
) -> None:
    start = parse_ticks("1999-01-01T00:00:00Z")
    before = sim.api.requests
    (page,) = scan(client_of(sim, http, 100), start=start, end=start + HOUR, not_before=NOW)
    assert (page.versions, page.rejected, page.fetched, page.last) == ((), (), 0, True)
    assert page.position == start + HOUR
    assert sim.api.requests - before == 3, "the filter; the newest, which does not reach back; the interval backwards"


def test_bounds_are_exact_to_the_tick(sim: Simulator, http: httpx.Client) -> None:
    start = next(_hours)
    end = start + HOUR // 2
    for name, ticks in (("early", start - 1), ("first", start), ("last", end - 1), ("late", end)):
        sim.world.put(row(f"{start}-{name}", ticks))
    pages = list(scan(client_of(sim, http, 2), start=start, end=end, not_before=NOW))
    assert delivered(pages) == [f"{start}-first", f"{start}-last"]


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    offsets=st.lists(st.integers(0, 6), max_size=14),
    page_size=st.integers(1, 5),
    leaving=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 13)), max_size=3),
    stop_after=st.none() | st.integers(1, 4),
)
def test_ties_odd_page_sizes_moving_rows_and_a_resumed_scan_lose_nothing(
    sim: Simulator,
    http: httpx.Client,
    offsets: list[int],
    page_size: int,
    leaving: list[tuple[int, int]],
    stop_after: int | None,
) -> None:
    start = next(_hours)
    end = start + HOUR // 6
    times = {f"{start}-{number}": start + offset for number, offset in enumerate(offsets)}
    stayed = set(times)
    for referral_id, ticks in times.items():
        sim.world.put(row(referral_id, ticks))

    def moving(pages: Iterator[ScanPage], from_page: int) -> Iterator[ScanPage]:
        for number, page in enumerate(pages, from_page):
            yield page
            for when, which in leaving:
                if when == number and f"{start}-{which}" in stayed:
                    stayed.discard(f"{start}-{which}")
                    sim.world.change(f"{start}-{which}", end + HOUR // 6, {})

    client = client_of(sim, http, page_size)
    first = list(itertools.islice(moving(scan(client, start=start, end=end, not_before=NOW), 0), stop_after))
    if first and first[-1].last:
        check_promises(first, times, stayed, start, end)
        return
    position = first[-1].position if first else None
    again = scan(client, start=start, end=end, resume_from=position, not_before=NOW)
    second = list(moving(again, len(first)))
    check_promises(second, times, {each for each in stayed if times[each] >= (position or start)}, start, end)
    assert stayed <= set(delivered(first + second))


def test_more_rows_at_one_instant_than_fit_on_a_page_are_walked_by_next_links(
    sim: Simulator, http: httpx.Client
) -> None:
    start = next(_hours)
    times = {f"{start}-{number}": start + 5 * (number == 240) for number in range(241)}
    for referral_id, ticks in times.items():
        sim.world.put(row(referral_id, ticks))
    pages = list(scan(client_of(sim, http, 100), start=start, end=start + HOUR // 6, not_before=NOW))
    check_promises(pages, times, set(times), start, start + HOUR // 6)


def test_broken_connections_and_throttling_on_the_way_lose_nothing_and_are_counted(
    sim: Simulator, http: httpx.Client
) -> None:
    for after, fault in enumerate((HttpFault.RESET, HttpFault.TRUNCATED, HttpFault.UNAVAILABLE_HTML)):
        sim.faults.plan(fault, after=after)
    sim.faults.plan(HttpFault.THROTTLED, retry_after=30)
    client = client_of(sim, http, 20)
    pages = list(scan(client, start=None, end=NOW, not_before=NOW))
    assert sorted(delivered(pages)) == sorted(in_world(sim, BEGINNING, NOW))
    assert sum(page.seconds_waited for page in pages) == pytest.approx(client.seconds_waited)
    assert client.seconds_waited >= 30


def test_what_a_failed_scan_delivered_is_not_asked_for_again(sim: Simulator, http: httpx.Client) -> None:
    client = client_of(sim, http, 50)
    sim.faults.plan(HttpFault.THROTTLED, after=5, retry_after=9999)
    pages: list[ScanPage] = []
    with pytest.raises(Throttled):
        pages.extend(scan(client, start=LAST_YEAR, end=NOW, not_before=NOW))
    position = pages[-1].position
    rest = list(scan(client, start=LAST_YEAR, end=NOW, resume_from=position, not_before=NOW))
    assert len(pages) == 3
    assert LAST_YEAR < position <= min(version.updated_ticks for page in rest for version in page.versions)
    assert set(delivered(pages + rest)) == set(in_world(sim, LAST_YEAR, NOW))


@pytest.mark.parametrize("page_size", [1, 3, 100])
def test_corrupt_rows_are_rejected_once_and_cost_no_good_row(
    sim: Simulator, http: httpx.Client, page_size: int
) -> None:
    sim.faults.corrupt_rows = frozenset(CorruptRow)
    start = next(_hours)
    times = {f"{start}-{number}": start + number // 2 for number in range(9)}
    for referral_id, ticks in times.items():
        sim.world.put(row(referral_id, ticks))
    pages = list(scan(client_of(sim, http, page_size), start=start, end=start + HOUR // 6, not_before=NOW))
    check_promises(pages, times, set(times), start, start + HOUR // 6)
    rejected = [each for page in pages for each in page.rejected]
    assert len({each.fingerprint for each in rejected}) == len(rejected)
    reasons = {each.reason for each in rejected}
    assert {Breach.NO_ID, Breach.UNSTORABLE_TEXT} <= reasons
    assert not {Breach.NO_UPDATED, Breach.BAD_UPDATED} & reasons, "no comparison finds a row without a date"


def test_unknown_fields_and_values_load(sim: Simulator, http: httpx.Client) -> None:
    sim.faults.unknown_values = True
    pages = list(scan(client_of(sim, http, 100), start=None, end=NOW, not_before=NOW))
    assert sorted(delivered(pages)) == sorted(in_world(sim, BEGINNING, NOW))
    assert not any(page.rejected for page in pages)


def test_the_servers_clock_is_waited_for(sim: Simulator, http: httpx.Client) -> None:
    class Waiting(PatientClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            sim.clock.advance(seconds)

    clock = Waiting()
    sim.clock.freeze()
    try:
        end = NOW - HOUR
        pages = list(
            scan(
                client_of(sim, http, 100, clock),
                start=None,
                end=end,
                not_before=NOW + 20 * TICKS_PER_SECOND,
                patience=30,
            )
        )
    finally:
        sim.clock.resume()
    assert clock.pauses == [20]
    assert all(page.server_ticks >= NOW + 20 * TICKS_PER_SECOND for page in pages)
    assert pages[-1].last


@pytest.mark.parametrize("missing", [31, 29])
def test_a_scan_is_too_early_and_delivers_nothing_while_the_server_clock_is_behind(
    sim: Simulator, http: httpx.Client, missing: int
) -> None:
    sim.clock.freeze()
    clock = PatientClock()
    try:
        pages = scan(
            client_of(sim, http, 100, clock),
            start=None,
            end=NOW,
            not_before=NOW + missing * TICKS_PER_SECOND,
            patience=30,
        )
        with pytest.raises(TooEarly, match="HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS") as early:
            next(pages)
    finally:
        sim.clock.resume()
    assert early.value.transient
    assert clock.monotonic() <= 30


def test_next_links_that_loop_or_repeat_rows_lose_nothing(sim: Simulator, http: httpx.Client) -> None:
    sim.faults.next_link_loop = True
    sim.faults.duplicate_rows = True
    pages = list(scan(client_of(sim, http, 25), start=LAST_YEAR, end=NOW, not_before=NOW))
    assert delivered(pages) == in_world(sim, LAST_YEAR, NOW)


def test_a_row_that_is_held_back_for_the_next_page_is_never_passed_over_silently(
    sim: Simulator, http: httpx.Client
) -> None:
    sim.faults.out_of_order_row = True
    with pytest.raises(ScanIncomplete, match="order"):
        list(scan(client_of(sim, http, 25), start=LAST_YEAR, end=NOW, not_before=NOW))


@pytest.fixture
def wide_tie(sim: Simulator) -> int:
    """An instant that more referrals share than fit on a page of 3."""
    start = next(_hours)
    for number in range(8):
        sim.world.put(row(f"{start}-{number}", start))
    return start


def test_a_loop_where_only_links_can_help_is_incomplete_and_never_silently_short(
    sim: Simulator, http: httpx.Client, wide_tie: int
) -> None:
    sim.faults.next_link_loop = True
    with pytest.raises(ScanIncomplete, match="next link") as incomplete:
        list(scan(client_of(sim, http, 3), start=wide_tie, end=wide_tie + 9, not_before=NOW))
    assert incomplete.value.transient


def test_a_link_that_grew_too_old_is_asked_for_anew(sim: Simulator, http: httpx.Client, wide_tie: int) -> None:
    sim.faults.plan(HttpFault.SKIPTOKEN_EXPIRED)
    pages = list(scan(client_of(sim, http, 3), start=wide_tie, end=wide_tie + 9, not_before=NOW))
    assert len(delivered(pages)) == 8


def test_a_link_to_another_host_stops_the_scan(sim: Simulator, http: httpx.Client, wide_tie: int) -> None:
    sim.faults.next_link_foreign = True
    with pytest.raises(ForeignHost):
        list(scan(client_of(sim, http, 3), start=wide_tie, end=wide_tie + 9, not_before=NOW))


def test_a_quoted_date_literal_is_found_and_used_for_the_whole_scan(sim: Simulator, http: httpx.Client) -> None:
    sim.faults.date_literal = Takes.QUOTED
    before = sim.api.requests
    client = client_of(sim, http, 100)
    pages = list(scan(client, start=None, end=NOW, not_before=NOW))
    assert sorted(delivered(pages)) == sorted(in_world(sim, BEGINNING, NOW))
    assert (
        sim.api.requests - before == len(pages) + 4
    )  # the other literal; the other direction; a look behind the first page; the newest


def test_without_a_date_filter_the_list_is_read_newest_first_until_two_passes_agree(
    sim: Simulator, http: httpx.Client
) -> None:
    sim.faults.date_literal = Takes.REFUSED
    client = client_of(sim, http, 100)
    pages = list(scan(client, start=None, end=NOW, not_before=NOW))
    assert sorted(delivered(pages)) == sorted(in_world(sim, BEGINNING, NOW))
    assert client.capability == Capability(None, START)
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert {page.position for page in pages[:-1]} == {BEGINNING}


def test_a_lasting_outage_ends_the_scan_as_unreachable(sim: Simulator, http: httpx.Client) -> None:
    sim.faults.plan(HttpFault.GATEWAY_TIMEOUT, times=10_000)
    with pytest.raises(Unreachable):
        list(scan(client_of(sim, http, 100), start=None, end=NOW, not_before=NOW))


# Against servers that page by offset, or lie: the local Microsoft does neither


class OffsetServer(ReferralsClient):
    """A server in memory whose next links count offsets: a row that leaves shifts the ones behind it.

    Just before request n, one of the rows already sent leaves: the `leaving[n]`-th of them, counted around.
    `lies` are told one per request, then the server is honest. `links` off: `$top` ends the query, as OData
    allows. `cap` is the most rows it sends on a page. `skips`: it sends no
    link at all, and takes `$skip`, which it else passes over.
    """

    def __init__(
        self,
        times: dict[str, int],
        page_size: int,
        *,
        cap: int = 1000,
        links: bool = True,
        skips: bool = False,
        leaving: dict[int, int] | None = None,
        lies: Sequence[str] = (),
    ) -> None:
        self.page_size = page_size
        self.clock = PatientClock()
        self.capability = None
        self.seconds_waited = 0.0
        self.times = times
        self.there = set(times)
        self.requests = 0
        self._cap = cap
        self._links = links
        self._skips = skips
        self._leaving = leaving or {}
        self._lies = list(lies)
        self._before: Page | None = None
        self._sent: set[str] = set()

    def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
        sent = sorted(self._sent & self.there)
        if self.requests in self._leaving and sent:
            self.there.discard(sent[self._leaving[self.requests] % len(sent)])
        self.requests += 1
        if isinstance(request, str):
            low, high, top, offset, descending = (int(part) for part in request.split(":"))
        else:
            low = BEGINNING if request.updated_from is None else request.updated_from
            high = NOW if request.updated_before is None else request.updated_before
            top, offset, descending = request.top, request.skip if self._skips else 0, int(request.descending)
        rows = sorted(
            ((self.compared(self.times[each]), each) for each in self.there if self.is_between(low, each, high)),
            reverse=bool(descending),
        )
        size = min(top, self._cap)
        items: list[Any] = [row(each, self.times[each]) for _, each in rows[offset : offset + size]]
        self._sent.update(each["id"] for each in items)
        onward = offset + size
        linked = not self._skips and (self._links or size < top)
        link = f"{low}:{high}:{top}:{onward}:{descending}" if onward < len(rows) and linked else None
        page = self._page_of(items, link)
        match self._lies.pop(0) if self._lies else None:
            case "shuffled":
                items.sort(key=lambda each: str(each["id"])[::-1])
            case "repeated" if self._before is not None and isinstance(request, str):
                return self._before
            case "loop":
                page = self._page_of(items, f"{low}:{high}:{top}:{offset}:{descending}")
            case "empty":
                page = self._page_of([], f"{low}:{high}:{top}:{offset}:{descending}")
            case "duplicated" if items:
                items.insert(0, items[0])
            case "foreign rows":
                items.insert(0, row("before", ORIGIN - 1))
                items.append(row("after", END))
        self._before = page
        return page

    def get_referral(self, referral_id: str) -> Any:
        return row(referral_id, self.times[referral_id]) if referral_id in self.there else None

    def compared(self, ticks: int) -> Any:
        """What the server sorts by."""
        return ticks

    def is_between(self, low: int, referral_id: str, high: int) -> bool:
        """Whether the server's filter takes a referral to be in `[low, high)`."""
        return low <= self.times[referral_id] < high

    def _page_of(self, items: list[Any], link: str | None) -> Page:
        return Page(items, link, NOW, 0.0, None)


LIES = ("shuffled", "repeated", "loop", "empty", "duplicated", "foreign rows")
ORIGIN = parse_ticks("2026-01-01T00:00:00Z")
END = ORIGIN + 100 * TICKS_PER_SECOND
ticks_of_rows = st.builds(
    lambda ties, apart: {
        f"r{instant}-{number}": ORIGIN + instant * apart
        for instant, count in enumerate(ties)
        for number in range(count)
    },
    st.lists(st.integers(0, 6), max_size=6),
    st.sampled_from((3 * TICKS_PER_SECOND, TICKS_PER_SECOND, TICKS_PER_SECOND // 3, 1)),
)
"""Up to six instants with up to six referrals each, seconds or parts of a second apart."""


def scanned(server: OffsetServer) -> list[ScanPage]:
    return list(scan(server, start=ORIGIN, end=END, not_before=NOW))


@pytest.mark.slow
@settings(max_examples=300)
@given(
    times=ticks_of_rows,
    page_size=st.integers(1, 4),
    cap=st.sampled_from((1, 3, 1000)),
    leaving=st.dictionaries(st.integers(1, 12), st.integers(0, 30), max_size=2),
)
@example(  # one of five that share an instant leaves between its page and the next: an offset then hides another
    times={f"r{number}": ORIGIN + number // 5 for number in range(7)}, page_size=2, cap=1000, leaving={1: 0}
)
@example(  # the same at the end of the interval, where no later row shows that something was passed over
    times={f"r{number}": ORIGIN for number in range(5)}, page_size=10, cap=2, leaving={1: 0}
)
@example(  # asking for larger pages is no failed try: two departures fit into the tries that are left
    times={f"r{number}": ORIGIN for number in range(6)}, page_size=2, cap=3, leaving={6: 0, 10: 0}
)
def test_rows_that_leave_under_offset_links_hide_no_row_that_stays(
    times: dict[str, int], page_size: int, cap: int, leaving: dict[int, int]
) -> None:
    server = OffsetServer(times, page_size, cap=cap, leaving=leaving)
    check_promises(scanned(server), times, server.there, ORIGIN, END)


@settings(max_examples=100)
@given(times=ticks_of_rows, page_size=st.integers(1, 7))
def test_a_server_that_takes_top_as_the_end_of_the_query_is_read_to_the_end(
    times: dict[str, int], page_size: int
) -> None:
    later = {f"later{number}": END + (9 + number) * TICKS_PER_SECOND for number in range(40)}
    check_promises(scanned(OffsetServer(times | later, page_size, links=False)), times, set(times), ORIGIN, END)


@settings(max_examples=200)
@given(
    times=ticks_of_rows,
    page_size=st.integers(1, 7),
    cap=st.integers(1, 3),
    leaving=st.dictionaries(st.integers(1, 12), st.integers(0, 30), max_size=2),
)
@example(times={f"r{number}": ORIGIN for number in range(3)}, page_size=4, cap=2, leaving={})
def test_a_server_that_sends_short_pages_without_a_link_is_read_on_by_skip(
    times: dict[str, int], page_size: int, cap: int, leaving: dict[int, int]
) -> None:
    server = OffsetServer(times, page_size, cap=cap, skips=True, leaving=leaving)
    check_promises(scanned(server), times, server.there, ORIGIN, END)


@pytest.mark.slow
@settings(max_examples=300)
@given(
    times=ticks_of_rows,
    page_size=st.integers(1, 7),
    lies=st.lists(st.sampled_from((*LIES, "honest", "honest")), max_size=4),
)
def test_a_few_lies_are_found_out_and_cost_no_row(times: dict[str, int], page_size: int, lies: list[str]) -> None:
    check_promises(scanned(OffsetServer(times, page_size, lies=lies)), times, set(times), ORIGIN, END)


@settings(max_examples=100)
@given(times=ticks_of_rows, page_size=st.integers(1, 7), lies=st.lists(st.sampled_from(LIES), min_size=1, max_size=6))
def test_a_server_that_goes_on_lying_ends_as_incomplete_or_all_is_there(
    times: dict[str, int], page_size: int, lies: list[str]
) -> None:
    server = OffsetServer(times, page_size, lies=lies * 100)
    try:
        pages = scanned(server)
    except ScanIncomplete:
        return
    assert set(delivered(pages)) == set(times)


@pytest.mark.parametrize("items", [[], [row("always", ORIGIN)]], ids=["empty", "the same"])
def test_pages_that_never_end_are_a_loop_however_their_links_change(items: list[dict[str, Any]]) -> None:
    class Endless(OffsetServer):
        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            self.requests += 1
            return self._page_of(items, f"link-{self.requests}")

    with pytest.raises(ScanIncomplete, match=r"lead nowhere|met before"):
        scanned(Endless({}, 5))


def test_an_empty_page_whose_link_leads_back_to_it_is_found_at_once() -> None:
    server = OffsetServer({"r": ORIGIN}, 5, lies=["empty"] * 100)
    with pytest.raises(ScanIncomplete, match="lead nowhere"):
        scanned(server)
    assert server.requests == 2 * (MAX_RESTARTS + 1)


def test_a_server_that_refuses_its_own_links_is_scanned_as_long_as_none_is_needed() -> None:
    class Refusing(OffsetServer):
        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            if isinstance(request, str):
                raise ApiRefused("no such link", status=404)
            return super().get_page(request, tries=tries)

    times = {f"r{number}": ORIGIN + number * 3 * TICKS_PER_SECOND for number in range(9)}
    assert {version.referral_id for page in scanned(Refusing(times, 4)) for version in page.versions} == set(times)
    with pytest.raises(ApiRefused):  # more rows share an instant than a page holds
        scanned(Refusing(dict.fromkeys(times, ORIGIN), 4))


def test_an_honest_scan_asks_four_pages_more_than_there_are() -> None:
    """The other direction, one behind the first page, one that shows the end, and the newest rows."""
    times = {f"r{number:03}": ORIGIN + number // 2 * TICKS_PER_SECOND // 2 for number in range(200)}
    server = OffsetServer(times, 50)
    scanned(server)
    assert server.requests <= 200 // 44 + 5


# Servers that do not compare instants as the documents say


class Coarse(OffsetServer):
    """Compares and sorts instants, of rows and of queries, by `self.coarse`: rounded, cut, or as text."""

    def __init__(self, coarse: Callable[[int], Any], times: dict[str, int], page_size: int, **more: Any) -> None:
        self.coarse = coarse
        super().__init__(times, page_size, **more)

    def compared(self, ticks: int) -> Any:
        return self.coarse(ticks)

    def is_between(self, low: int, referral_id: str, high: int) -> bool:
        return bool(self.coarse(low) <= self.coarse(self.times[referral_id]) < self.coarse(high))


MILLISECOND = TICKS_PER_SECOND // 1000
COARSE: dict[str, Callable[[int], Any]] = {
    "rounded to milliseconds": lambda ticks: (ticks + MILLISECOND // 2) // MILLISECOND,
    "cut to milliseconds": lambda ticks: ticks // MILLISECOND,
    "cut to microseconds": lambda ticks: ticks // 10,
    "rounded to seconds": lambda ticks: (ticks + TICKS_PER_SECOND // 2) // TICKS_PER_SECOND,
    "cut to seconds": lambda ticks: ticks // TICKS_PER_SECOND,
    "as text": render_ticks,
}
_fine_ticks = st.dictionaries(
    st.integers(0, 20).map("r{}".format),
    st.one_of(
        st.integers(0, 60 * TICKS_PER_SECOND - 1),
        st.builds(lambda second, part: second * TICKS_PER_SECOND + part, st.integers(0, 4), st.integers(-6, 6)),
        st.integers(0, 12_000).map(lambda number: number * MILLISECOND + 4_999),
    ).map(lambda offset: max(ORIGIN, ORIGIN + offset)),
    max_size=14,
)


@pytest.mark.parametrize("coarse", COARSE)
@settings(max_examples=60)
@given(times=_fine_ticks, page_size=st.integers(1, 5))
@example(  # three of these five were once not asked for again, and the window was closed
    times={f"r{number}": ORIGIN + 5 * MILLISECOND + 4_990 + 5 * number for number in range(5)}, page_size=2
)
def test_a_server_that_rounds_or_cuts_instants_or_compares_text_hides_no_row(
    coarse: str, times: dict[str, int], page_size: int
) -> None:
    start, end = ORIGIN, ORIGIN + 60 * TICKS_PER_SECOND
    pages = list(scan(Coarse(COARSE[coarse], times, page_size), start=start, end=end, not_before=NOW))
    check_promises(pages, times, set(times), start, end)


def test_a_server_that_shifts_the_asked_instants_is_read_without_its_filter() -> None:
    class Shifted(OffsetServer):
        def is_between(self, low: int, referral_id: str, high: int) -> bool:
            shift = 0 if low == BEGINNING else HOUR
            return super().is_between(low + shift, referral_id, high + shift)

    times = {f"r{number}": ORIGIN + number * TICKS_PER_SECOND for number in range(20)}
    check_all_is_there(scanned(Shifted(times, 7)), times)


def test_a_server_that_passes_over_the_filter_is_read_without_it() -> None:
    class Unfiltered(OffsetServer):
        def is_between(self, low: int, referral_id: str, high: int) -> bool:
            return True

    times = {f"r{number}": ORIGIN + number * TICKS_PER_SECOND for number in range(20)}
    older = {f"old{number}": ORIGIN - (number + 9) * HOUR for number in range(30)}
    server = Unfiltered(times | older, 7)
    check_all_is_there(scanned(server), times)
    assert server.capability == Capability(None, START), "the next scan begins without a filter"


def test_a_server_that_passes_over_the_order_is_read_from_the_newest_on() -> None:
    class NewestFirst(OffsetServer):
        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            return super().get_page(request if isinstance(request, str) else replace(request, descending=True))

    times = {f"r{number}": ORIGIN + number * 2 * TICKS_PER_SECOND for number in range(20)}
    check_all_is_there(scanned(NewestFirst(times, 7)), times)


class DeadLinks(OffsetServer):
    """Its next links answer with an empty list."""

    def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
        page = super().get_page(request)
        return self._page_of([], None) if isinstance(request, str) else page


class TakesSkip(DeadLinks):
    """It takes `$skip`, beside its dead links."""

    def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
        if isinstance(request, PageQuery) and request.skip:
            self._skips = True
            try:
                return super().get_page(request)
            finally:
                self._skips = False
        return super().get_page(request)


TIE = dict.fromkeys((f"r{number:03}" for number in range(300)), ORIGIN)


def test_next_links_that_lead_to_an_empty_list_end_as_incomplete_where_one_is_needed() -> None:
    with pytest.raises(ScanIncomplete, match="may be cut off"):
        scanned(DeadLinks(TIE, 50))


def test_next_links_that_lead_to_an_empty_list_are_gone_around_by_skip() -> None:
    check_all_is_there(scanned(TakesSkip(TIE, 50)), TIE)


@pytest.mark.parametrize("spread", [0, TICKS_PER_SECOND])
@pytest.mark.parametrize(("cap", "count"), [(50, 500), (100, 600), (100, 1500)])
def test_capped_pages_without_a_way_on_are_never_taken_for_the_end(cap: int, count: int, spread: int) -> None:
    class Capped(OffsetServer):
        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            return replace(super().get_page(request), next_link=None)

    times = {f"r{number:04}": ORIGIN + number * spread // 20 for number in range(count)}
    server = Capped(times, 100, cap=cap)
    if spread:
        check_all_is_there(scanned(server), times)
    else:  # what shares an instant cannot be read there
        with pytest.raises(ScanIncomplete, match="may be cut off"):
            scanned(server)


def test_a_filter_that_hides_the_newest_rows_is_found_by_the_list_without_a_filter() -> None:
    class Hiding(OffsetServer):
        def is_between(self, low: int, referral_id: str, high: int) -> bool:
            return super().is_between(low, referral_id, min(high, END - HOUR) if high < NOW else high)

    times = {f"r{number}": ORIGIN + number * TICKS_PER_SECOND for number in range(20)}
    check_all_is_there(scanned(Hiding(times, 7)), times)


def check_all_is_there(pages: Sequence[ScanPage], times: dict[str, int]) -> None:
    """Every row of `times` was delivered, and the scan says that it is complete."""
    assert set(delivered(pages)) == set(times)
    assert pages[-1].last


@pytest.mark.slow
def test_rows_that_share_an_instant_are_held_once_in_memory() -> None:
    def peak(count: int) -> int:
        server = OffsetServer(dict.fromkeys((f"r{number:06}" for number in range(count)), ORIGIN), 1000)
        tracemalloc.start()
        try:
            for _ in scan(server, start=ORIGIN, end=END, not_before=NOW):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(2_000), peak(12_000)
    assert (many - few) / 10_000 < 900, "bytes a row; the server here holds some of them"


@pytest.mark.parametrize("ties", [1, 3])
def test_rows_beyond_the_end_are_never_delivered_by_a_server_that_ignores_the_upper_bound(ties: int) -> None:
    """Beyond the end the safety lag protects nothing: a window that held such rows would claim too much."""

    class Unbounded(OffsetServer):
        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            if isinstance(request, PageQuery) and request.updated_before is not None:
                request = replace(request, updated_before=NOW)
            return super().get_page(request)

    times = {f"in-{number}": ORIGIN + number // ties for number in range(9)}
    times |= {f"beyond-{number}": END + number for number in range(9)}
    check_all_is_there(scanned(Unbounded(times, page_size=4)), {each: ORIGIN for each in times if each[0] == "i"})


@pytest.mark.parametrize("newer", [1, 6, 7, 8, 30])
def test_a_server_that_passes_over_filter_and_order_is_read_without_them(newer: int) -> None:
    """Its first page holds rows from behind the interval, and one or some of the interval's last."""

    class NewestFirst(OffsetServer):
        def is_between(self, low: int, referral_id: str, high: int) -> bool:
            return True

        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            return super().get_page(request if isinstance(request, str) else replace(request, descending=True))

    times = {f"r{number}": ORIGIN + number * 2 * TICKS_PER_SECOND for number in range(20)}
    later = {f"later{number}": END + (9 + number) * TICKS_PER_SECOND for number in range(newer)}
    check_all_is_there(scanned(NewestFirst(times | later, 7)), times)


def test_a_server_that_passes_over_the_order_hides_nothing_behind_newest_rows_of_one_instant() -> None:
    class NewestFirst(OffsetServer):
        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            return super().get_page(request if isinstance(request, str) else replace(request, descending=True))

    times = {f"r{number}": ORIGIN + number * TICKS_PER_SECOND for number in range(9)}
    tie = dict.fromkeys((f"tie{number}" for number in range(25)), ORIGIN + 50 * TICKS_PER_SECOND)
    check_all_is_there(scanned(NewestFirst(times | tie, 10)), times | tie)


class ById(OffsetServer):
    """It passes over the order: its list is sorted by id."""

    def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
        return super().get_page(request if isinstance(request, str) else replace(request, descending=False))

    def compared(self, ticks: int) -> Any:
        return 0


@pytest.mark.slow
@settings(max_examples=300)
@given(
    mostly=st.integers(0, 30),
    moved=st.one_of(
        st.dictionaries(st.integers(0, 29), st.integers(0, 90), max_size=3),
        st.dictionaries(st.integers(11, 29), st.integers(78, 81), min_size=8),
    ),
    page_size=st.integers(10, 14),
    skips=st.booleans(),
)
@example(mostly=30, moved={11: 80}, page_size=12, skips=False)
@example(mostly=30, moved={11: 80}, page_size=12, skips=True)
@example(mostly=30, moved={11: 80} | dict.fromkeys(range(12, 29), 79), page_size=12, skips=False)
@example(mostly=30, moved={11: 80} | dict.fromkeys(range(12, 29), 79), page_size=12, skips=True)
def test_a_server_that_sorts_by_something_else_hides_no_row_behind_a_page_that_seems_in_order(
    mostly: int, moved: dict[int, int], page_size: int, skips: bool
) -> None:
    seconds = [moved.get(number, number) for number in range(mostly)]
    times = {f"r{number:02}": ORIGIN + second * TICKS_PER_SECOND for number, second in enumerate(seconds)}
    try:
        pages = scanned(ById(times, page_size, skips=skips))
    except ScanIncomplete:
        return
    check_all_is_there(pages, times)


@pytest.mark.parametrize("skips", [True, False])
def test_a_server_that_knows_only_the_ascending_order_is_read_to_the_end(skips: bool) -> None:
    class Ascending(OffsetServer):
        def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
            return super().get_page(request if isinstance(request, str) else replace(request, descending=False))

    times = {f"r{number}": ORIGIN + number * TICKS_PER_SECOND for number in range(40)}
    check_all_is_there(scanned(Ascending(times, 12, skips=skips)), times)


@pytest.mark.parametrize("filter_refused", [False, True], ids=["filter", "no filter"])
@pytest.mark.parametrize("rows", [31, 65])
def test_a_row_held_back_for_a_page_that_no_link_leads_to_closes_nothing(
    rows: int, filter_refused: bool, sim: Simulator, http: httpx.Client
) -> None:
    """`$skip` brings a row again: so it has one before it that was not shown."""
    start = parse_ticks("2004-01-01T00:00:00Z")
    ids = {f"held-{number}" for number in range(rows)}
    for referral_id in ids:
        sim.world.put(row(referral_id, start + TICKS_PER_SECOND))
    sim.faults.filter_updated_refused = filter_refused
    sim.faults.offset_paging = sim.faults.out_of_order_row = sim.faults.next_link_dead = True
    pages: list[ScanPage] = []
    with pytest.raises(ScanIncomplete):
        pages.extend(scan(client_of(sim, http, 30), start=start, end=start + HOUR, not_before=NOW))
    assert not any(page.last for page in pages)
