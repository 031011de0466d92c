"""The scan with a filter on `updatedDateTime`: each page is a new query that begins a second before the last row.

Why it is complete: windows.md, "Why a scan is complete", 1 to 6. Not here: the scan without a filter
(`unfiltered_scan`).
"""

import logging
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from partner_center_pipeline.partner_center.client import Page
from partner_center_pipeline.partner_center.contract import read_referral
from partner_center_pipeline.partner_center.digests import digest
from partner_center_pipeline.partner_center.errors import (
    AccessDenied,
    ApiRefused,
    ForeignHost,
    PartnerCenterError,
    ScanIncomplete,
)
from partner_center_pipeline.partner_center.odata import PageQuery
from partner_center_pipeline.partner_center.page_reader import (
    MAX_EMPTY_PAGES,
    SLACK,
    SMALLEST_LIMIT,
    ContradictionError,
    Key,
    NotKeptError,
    PageReader,
    Row,
    key_of,
    rows_of,
)
from partner_center_pipeline.referral import ReferralVersion, RejectedRow, ScanPage
from partner_center_pipeline.windows import BEGINNING, TICKS_PER_SECOND, render_ticks

MAX_RESTARTS: Final = 5
"""The number of times in a row that a scan starts again from the last proven row without getting further."""

_log = logging.getLogger(__name__)


class FilterIgnoredError(NotKeptError):
    """A page has rows, and none of the interval asked for."""


class OrderIgnoredError(NotKeptError):
    """Rows before a page's last row did not come before it."""


@dataclass(slots=True)
class _Delivered:
    """A delivered row: its instant in ticks, and the number of the walk that saw it last."""

    ticks: int
    walk: int


@dataclass(slots=True)
class _Walk:
    """One query and the pages behind it.

    `highest` is the latest instant before the interval's end so far, `latest` the latest of all rows (ticks).

    `keys_seen` and `keys_sum` identify the set of delivered rows that it saw, without holding them a second time.
    `last_size` is the size of its last page that was not empty; `first` has the keys of its first page.
    """

    number: int
    query: PageQuery
    highest: int
    latest: int
    first: Set[Key] = frozenset()
    row_count: int = 0
    page_count: int = 0
    last_size: int = 0
    empty_pages: int = 0
    keys_seen: int = 0
    keys_sum: int = 0
    links: set[str] = field(default_factory=set)
    boundary: ReferralVersion | None = None

    @property
    def identity(self) -> tuple[int, int]:
        """What is equal for two walks that saw the same rows."""
        return self.keys_seen, self.keys_sum


class KeysetScan:
    """The state of one scan of `[low, end)` (ticks). `low` moves up: all rows before it are delivered.

    A server may round or cut instants to milliseconds or seconds, or compare them as text. So a query begins at a whole
    second, one second before it must, and ends a second after it must. Rows outside the interval are dropped here.
    """

    def __init__(self, reader: PageReader, low: int, end: int) -> None:
        self.low = low
        self._reader = reader
        self._start = low
        self._end = end
        self._asked_from = BEGINNING if low == BEGINNING else _second_before(low)
        self._asked_before = -(-end // TICKS_PER_SECOND) * TICKS_PER_SECOND + SLACK
        self._page_size = self._top = reader.client.page_size
        self._largest_page = 0
        self._walks = 0
        self._peeked = False
        self._keeps_order: bool | None = None
        self._done = False
        self._delivered: dict[Key, _Delivered] = {}  # the delivered rows from `_asked_from` on
        self._boundary: ReferralVersion | None = None  # the last row before `_asked_from` moved up; it must come again
        self._last_walk: tuple[int, int] | None = None

    def pages(self) -> Iterator[ScanPage]:
        """Yield the pages of `scan`. Raises ScanIncomplete, NotKeptError, and what `PageReader.fetch` raises."""
        tries = 0
        while not self._done:
            before = self._asked_from, self._top
            contradiction: ContradictionError | None = None
            try:
                yield from self._walk()
            except (FilterIgnoredError, OrderIgnoredError):
                raise
            except ContradictionError as error:
                contradiction = error
                _log.warning("scan starts again at %s: %s", render_ticks(self.low), error)
            tries = 0 if (self._asked_from, self._top) != before else tries + 1
            if tries > MAX_RESTARTS and not self._done:
                if isinstance(contradiction, NotKeptError):
                    raise contradiction
                reason = contradiction or "the server keeps changing what it shows for that instant"
                raise ScanIncomplete(
                    f"The referrals updated from {render_ticks(self.low)} on are not proven complete after "
                    f"{tries} tries: {reason}. What came so far is kept; the rest is asked for again "
                    "later. If it stays so, run `partner-center doctor --probe`."
                )

    def _walk(self) -> Iterator[ScanPage]:
        """Send a new query, and follow next links or `$skip` until a page gets past the second of its first rows."""
        self._walks += 1
        query = PageQuery(self._top, None if self._asked_from == BEGINNING else self._asked_from, self._asked_before)
        walk = _Walk(self._walks, query, self._asked_from, self._asked_from)
        page: Page | None = self._reader.fetch(query)
        while page is not None:
            rows = rows_of(page)
            self._check_page(walk, page, rows)
            fresh = self._take(walk, page, rows)  # after the checks that drop the page: it marks rows as delivered
            try:
                following = self._following(walk, page, rows.values())
            except (ContradictionError, PartnerCenterError):
                yield self._deliver(page, fresh)
                raise
            yield self._deliver(page, fresh)
            page = following

    def _check_page(self, walk: _Walk, page: Page, rows: dict[Key, Row]) -> None:
        """Raise ContradictionError for a page that may not be: not in order, outside the interval, or met before."""
        walk.latest = self._check_order(rows.values(), walk.latest)
        instants = (row.updated_ticks for row in rows.values() if isinstance(row, ReferralVersion))
        walk.highest = max([walk.highest, *(ticks for ticks in instants if ticks < self._end)])
        known = (self._delivered.get(key) for key in rows)
        if walk.page_count and rows and all(row is not None and row.walk == walk.number for row in known):
            raise ContradictionError("a next link, or $skip, led to a page that was met before")
        if not self._peeked and page.next_link is not None and not walk.page_count and self._gets_past(walk):
            self._peek(page.next_link, walk, rows.keys())

    def _check_order(self, rows: Iterable[Row], last: int) -> int:
        """Return the latest instant, `last` (ticks) where there is none.

        Raises NotKeptError for a row more than a second out of order, and for rows of which none was asked for.
        """
        instants = [row.updated_ticks for row in rows if isinstance(row, ReferralVersion)]
        if instants and not any(self._asked_from - SLACK <= ticks < self._asked_before + SLACK for ticks in instants):
            raise FilterIgnoredError("no row is of the interval asked for: the filter is passed over")
        latest = last
        for ticks in instants:
            if ticks < latest - SLACK and latest > self._asked_from:
                raise NotKeptError("a row came out of order")
            latest = max(latest, ticks)
        return latest

    def _peek(self, link: str, walk: _Walk, first: Set[Key]) -> None:
        """Look once at the page after one that needs no link: it shows whether the server keeps rows back."""
        try:
            rows = rows_of(self._reader.fetch(link))
        except (ContradictionError, ForeignHost, ApiRefused):
            return  # a bad link is an error only where it has to be followed
        new = [row for key, row in rows.items() if key not in self._delivered and key not in first]
        try:
            self._check_order(new, walk.latest)
        except NotKeptError:
            raise NotKeptError("a row was held back for the next page, against the order") from None
        self._peeked = True

    def _take(self, walk: _Walk, page: Page, rows: dict[Key, Row]) -> list[Row]:
        """Return the page's rows that were not delivered before, mark them as delivered, and count the page."""
        fresh: list[Row] = []
        for key, row in rows.items():
            ticks = self._end if isinstance(row, RejectedRow) else row.updated_ticks
            if isinstance(row, ReferralVersion):
                if not max(self._start, self._asked_from) <= ticks < self._end:
                    continue
                if walk.boundary is None or walk.boundary.updated_ticks <= ticks:
                    walk.boundary = row
            known = self._delivered.get(key)
            if known is None:
                known = self._delivered[key] = _Delivered(ticks, 0)
                fresh.append(row)
            if known.walk != walk.number:
                known.walk = walk.number
                walk.keys_seen += 1
                walk.keys_sum += digest(*key)
        walk.first = walk.first if walk.page_count else rows.keys()
        walk.page_count += 1
        walk.row_count += page.skips
        walk.last_size = len(page.items) or walk.last_size
        walk.empty_pages = 0 if rows else walk.empty_pages + 1
        self._largest_page = max(self._largest_page, len(page.items))
        return fresh

    def _following(self, walk: _Walk, page: Page, rows: Iterable[Row]) -> Page | None:
        """Return the page that the walk goes on with, None when it ends. Then keep what the walk proves.

        Raises ContradictionError, and what `PageReader.fetch` raises.
        """
        if self._gets_past(walk):
            self._get_further(walk, page)
            return None

        def is_met(key: Key) -> bool:
            known = self._delivered.get(key)
            return known is not None and known.walk == walk.number

        passed_end = any(
            isinstance(row, ReferralVersion) and row.updated_ticks >= self._asked_before + SLACK for row in rows
        )
        if page.next_link is not None and not passed_end:
            if page.next_link in walk.links or walk.empty_pages > MAX_EMPTY_PAGES:
                raise ContradictionError("the next links lead nowhere")
            walk.links.add(page.next_link)
            return self._reader.follow(page.next_link, walk.query, walk.row_count, walk.first, is_met)
        newest = self._reader.look(PageQuery(self._top, descending=True))
        if newest is not None:
            self._largest_page = max(self._largest_page, len(newest.items))
        is_led_nowhere = bool(walk.links) and not page.items
        if not passed_end and (self._may_be_cut(walk) or is_led_nowhere):
            skipped = self._reader.fetch_skipping(walk.query, walk.row_count, walk.first, is_met)
            if skipped is not None and skipped.items:
                return skipped
            if skipped is None and not walk.links and walk.row_count >= self._top:
                # `$top` may be the server's limit for the whole query.
                self._top *= 2
                return None
            is_way_missing = is_led_nowhere or not walk.links
            if skipped is None and is_way_missing and self._may_be_cut(walk) and walk.last_size >= SMALLEST_LIMIT:
                raise ContradictionError(
                    f"after {walk.row_count} rows of about the same instant no next link leads on, $skip is not taken, "
                    "and the server sends no larger page, so more rows may be cut off"
                )
        if self._is_proven(walk):
            self._confirm_end(walk, newest)
            self._done = True
        return None

    def _gets_past(self, walk: _Walk) -> bool:
        """Say whether a new query can begin later than this walk's did."""
        return _second_before(walk.highest) > self._asked_from

    def _may_be_cut(self, walk: _Walk) -> bool:
        """Say whether the last page is as large as the server's pages get, so that rows may be missing behind it."""
        return walk.last_size > 0 and walk.last_size >= min(self._largest_page, self._top)

    def _is_proven(self, walk: _Walk) -> bool:
        """Say whether nothing slipped between the pages of a walk: it has one page, or saw what the last walk saw."""
        proven = walk.page_count == 1 or walk.identity == self._last_walk
        self._last_walk = walk.identity
        return proven

    def _get_further(self, walk: _Walk, page: Page) -> None:
        """Begin the next query a second before this walk's last row, if the walk is proven; `page` is its last page."""
        self._check_boundary(walk, whole=False)
        if not self._is_proven(walk):
            return
        if page.next_link is not None or len(page.items) >= SMALLEST_LIMIT:  # else nothing was cut off, in any order
            self._check_order_kept(walk)
        self._asked_from = _second_before(walk.highest)
        self.low = max(self.low, min(self._asked_from, self._end - 1))
        self._last_walk, self._top, self._boundary = None, self._page_size, walk.boundary
        self._delivered = {key: row for key, row in self._delivered.items() if row.ticks >= self._asked_from}

    def _check_order_kept(self, walk: _Walk) -> None:
        """Raise OrderIgnoredError when rows before the walk's last row did not come before it.

        A server that answers once in descending order keeps to the order that it is asked for. Of another one, each
        walk is checked: an interval that ends before the walk's last row may hold no row that did not come.
        """
        if self._keeps_order is None:
            opposite = self._reader.look(replace(walk.query, descending=True))
            self._keeps_order = opposite is not None and _is_descending(opposite)
        if self._keeps_order:
            return
        low, high = max(self._start, self._asked_from), _second_before(walk.highest)
        for row in self._rows_before(walk, high + SLACK):
            known = self._delivered.get(key_of(row))
            if low <= row.updated_ticks < high and (known is None or known.walk != walk.number):
                raise OrderIgnoredError("the order is passed over: rows before the last one did not come before it")

    def _rows_before(self, walk: _Walk, before: int) -> Iterator[ReferralVersion]:
        """Yield what the walk's query brings when it ends earlier, at `before` (ticks), up to the walk's last row.

        In order these are fewer rows than the walk had. Raises OrderIgnoredError where they are twice as many, where
        the server refuses the question, and where nothing leads past a page as large as the walk's.
        """
        query = replace(walk.query, updated_before=before)
        page = self._reader.fetch_if_taken(query)
        first = rows_of(page).keys() if page is not None else frozenset()
        count = 0
        while page is not None:
            yield from (row for row in rows_of(page).values() if isinstance(row, ReferralVersion))
            count += max(1, len(page.items))  # links of empty pages end too
            if count >= 2 * walk.row_count:
                break
            if page.next_link is not None:
                page = self._reader.follow(page.next_link, query, count, first)
            elif len(page.items) < min(walk.row_count, SMALLEST_LIMIT):
                return
            else:
                is_whole = len(page.items) < walk.row_count
                page = self._reader.fetch_skipping(query, count, first)
                if is_whole if page is None else not page.items:
                    return
        raise OrderIgnoredError("the order is passed over: more rows are said to come before the last one than came")

    def _check_boundary(self, walk: _Walk, *, whole: bool) -> None:
        """Raise NotKeptError when the last row of the query before did not come again, and did not move either.

        `whole`: nothing follows after the walk. Else rows of nearly the same instant may still come.
        """
        row = self._boundary
        if row is None or not (whole or walk.highest >= row.updated_ticks + 2 * SLACK):
            return
        known = self._delivered.get(key_of(row))
        if known is None or known.walk == walk.number or known.ticks < self._asked_from + SLACK:
            return
        try:
            current = read_referral(self._reader.client.get_referral(row.referral_id))
        except (ApiRefused, AccessDenied):
            return  # an API that answers no such question leaves it open
        if isinstance(current, ReferralVersion) and current.updated_ticks == row.updated_ticks:
            raise NotKeptError("a row that came a moment ago does not come where the filter asks for it")
        self._boundary = None

    def _confirm_end(self, walk: _Walk, newest: Page | None) -> None:
        """Raise NotKeptError when the other end of the list, or of the interval, shows a row that did not come.

        `newest` is the first page of the list without a filter, the newest referrals first. Where it does not reach
        back to the walk's last row, the interval is asked for in descending order, too.
        """
        self._check_boundary(walk, whole=True)
        if newest is not None and self._reaches_back(newest, walk.highest):
            return
        latest = self._reader.fetch_if_taken(
            PageQuery(self._top, walk.query.updated_from, walk.query.updated_before, descending=True)
        )
        if latest is not None:
            self._reaches_back(latest, walk.highest)

    def _reaches_back(self, page: Page, ticks: int) -> bool:
        """Say whether a page in descending order shows all rows after `ticks`.

        Raises NotKeptError for a row of the interval that was not delivered.
        """
        lowest = None
        for row in rows_of(page).values():
            if isinstance(row, RejectedRow):
                continue
            lowest = row.updated_ticks if lowest is None else min(lowest, row.updated_ticks)
            from_start = max(self._start, self._asked_from)
            if from_start <= row.updated_ticks < self._end and key_of(row) not in self._delivered:
                raise NotKeptError("the newest referrals show a row that the filter did not bring")
        whole = page.next_link is None and len(page.items) < min(self._largest_page, self._top)
        return whole or (lowest is not None and lowest <= ticks)

    def _deliver(self, page: Page, fresh: Iterable[Row]) -> ScanPage:
        return self._reader.deliver(page, fresh, self._end if self._done else self.low, last=self._done)


def _second_before(ticks: int) -> int:
    """Return the whole second (ticks) one second before the one that holds an instant."""
    return ticks // TICKS_PER_SECOND * TICKS_PER_SECOND - SLACK


def _is_descending(page: Page) -> bool:
    """Say whether a page's rows are clearly in descending order of their instants."""
    instants = [row.updated_ticks for row in rows_of(page).values() if isinstance(row, ReferralVersion)]
    in_order = all(later <= earlier + SLACK for earlier, later in pairwise(instants))
    return in_order and bool(instants) and instants[0] - instants[-1] > SLACK
