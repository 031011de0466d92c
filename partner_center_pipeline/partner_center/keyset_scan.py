"""Scans an interval with a filter on `updatedDateTime`: each page is asked anew from the last row's instant on.

The argument for it is `scan`'s, 1 to 5. What does not belong here: the scan without a filter (`unfiltered_scan`).
"""

import logging
from collections.abc import Iterable, Iterator, Set
from dataclasses import replace
from typing import Final

from partner_center_pipeline.partner_center.client import Page
from partner_center_pipeline.partner_center.errors import ApiRefused, ForeignHost, ScanIncomplete
from partner_center_pipeline.partner_center.odata import PageQuery
from partner_center_pipeline.partner_center.page_reader import (
    MAX_EMPTY_PAGES,
    ContradictionError,
    Key,
    Reader,
    Row,
    rows_of,
)
from partner_center_pipeline.referral import RejectedRow, ScanPage
from partner_center_pipeline.windows import BEGINNING, render_ticks

MAX_RESTARTS: Final = 5
"""How often in a row a scan starts again from the last proven row without getting further."""

_log = logging.getLogger(__name__)


class KeysetScan:
    """The state of one scan: everything before `low` is delivered, and of the rest what `delivered` holds."""

    def __init__(self, reader: Reader, low: int, end: int) -> None:
        self.low = low
        self._reader = reader
        self._end = end
        self._page_size = self._top = reader.client.page_size
        self._largest = 0
        self._peeked = False
        self._done = False
        self._delivered: dict[Key, int] = {}
        self._last_walk: frozenset[Key] | None = None

    def pages(self) -> Iterator[ScanPage]:
        """The pages of `scan`. Raises ScanIncomplete, and what `Reader.fetch` raises."""
        fruitless = 0
        while not self._done:
            before = self.low, self._top
            reason = "the server keeps changing what it shows for that instant"
            try:
                yield from self._walk()
            except ContradictionError as found:
                reason = str(found)
                _log.warning("scan starts again at %s: %s", render_ticks(self.low), reason)
            fruitless = 0 if (self.low, self._top) != before else fruitless + 1
            if fruitless > MAX_RESTARTS and not self._done:
                raise ScanIncomplete(
                    f"The referrals updated from {render_ticks(self.low)} on are not proven complete after "
                    f"{fruitless} tries: {reason}. What came so far is kept; the rest is asked for again "
                    "later. If it stays so, run `partner-center doctor --probe`."
                )

    def _walk(self) -> Iterator[ScanPage]:
        """Ask anew from `low`, and go on by next links or `$skip` for as long as no page gets past `low`."""
        at, fetched, pages, empty = self.low, 0, 0, 0
        met: set[Key] = set()
        links: set[str] = set()
        query = PageQuery(self._top, None if self.low == BEGINNING else self.low, self._end)
        page = self._reader.fetch(query)
        rows = rows_of(page)
        first = rows.keys()
        while True:
            at = self._check_order(rows.values(), at)
            if links and rows and rows.keys() <= met:
                raise ContradictionError("a next link led to a page that was met before")
            met.update(rows)
            fetched += len(page.items)
            pages += 1
            empty = 0 if rows else empty + 1
            self._largest = max(self._largest, len(page.items))
            short = len(page.items) < min(self._largest, self._top)
            over = at > self.low or (page.next_link is None and (short or not rows))
            if over and page.next_link is not None and not self._peeked:
                self._peek(page.next_link, met, at)
            fresh = self._fresh(rows)  # after all that may drop the page: what is marked is delivered
            if over:
                self._conclude(at, frozenset(met), walked=pages > 1)
            yield self._deliver(page, fresh)
            if over:
                return
            if page.next_link is None:
                behind = self._reader.behind(query, fetched, first)
                if behind is None:
                    self._conclude(at, frozenset(met), walked=pages > 1, full=fetched >= self._top)
                    yield self._deliver(replace(page, items=[]), [])
                    return
                page = behind
                rows = rows_of(page)
            elif page.next_link in links or empty > MAX_EMPTY_PAGES:
                raise ContradictionError("the next links lead nowhere")
            else:
                links.add(page.next_link)
                page = self._reader.fetch(page.next_link)
                rows = rows_of(page)

    def _peek(self, link: str, met: Set[Key], at: int) -> None:
        """Look once behind a page that needs no link: a server that holds rows back against the order shows it."""
        try:
            rows = rows_of(self._reader.fetch(link))
        except (ContradictionError, ForeignHost, ApiRefused):
            return  # what a link is worth is decided where one has to be followed
        try:
            self._check_order((row for key, row in rows.items() if key not in met), at)
        except ContradictionError:
            raise ContradictionError("a row was held back for the next page, against the order") from None
        self._peeked = True

    def _deliver(self, page: Page, fresh: Iterable[Row]) -> ScanPage:
        return self._reader.deliver(page, fresh, self._end if self._done else self.low, last=self._done)

    def _conclude(self, at: int, met: frozenset[Key], *, walked: bool, full: bool = False) -> None:
        """What a finished walk proves; see the numbered argument of `scan`."""
        proven = met == self._last_walk if walked else True
        self._last_walk = met
        if at > self.low:
            if proven:
                self.low, self._last_walk, self._top = at, None, self._page_size
                self._delivered = {key: ticks for key, ticks in self._delivered.items() if ticks >= at}
        elif full:
            # `$top` may be the server's limit for the whole query, so a full answer ends nothing where neither a
            # link nor `$skip` leads on.
            self._top *= 2
        else:
            self._done = proven

    def _check_order(self, rows: Iterable[Row], at: int) -> int:
        """The last placed row's ticks, `at` when there is none."""
        for row in rows:
            if isinstance(row, RejectedRow):
                continue
            if not at <= row.updated_ticks < self._end:
                raise ContradictionError("a row came out of order, or from outside the interval asked for")
            at = row.updated_ticks
        return at

    def _fresh(self, rows: dict[Key, Row]) -> list[Row]:
        """The rows not delivered before, now marked as delivered."""
        fresh = {key: row for key, row in rows.items() if key not in self._delivered}
        for key, row in fresh.items():
            self._delivered[key] = self._end if isinstance(row, RejectedRow) else row.updated_ticks
        return list(fresh.values())
