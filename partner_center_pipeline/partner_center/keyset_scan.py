"""The scan with a filter on `updatedDateTime`: each page is a new query that begins at the last row's instant.

Why it is complete: windows.md, "Why a scan is complete", 1 to 5. Not here: the scan without a filter
(`unfiltered_scan`).
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
    PageReader,
    Row,
    rows_of,
)
from partner_center_pipeline.referral import RejectedRow, ScanPage
from partner_center_pipeline.windows import BEGINNING, render_ticks

MAX_RESTARTS: Final = 5
"""The number of times in a row that a scan starts again from the last proven row without getting further."""

_log = logging.getLogger(__name__)


class KeysetScan:
    """The state of one scan of `[low, end)` (ticks). `low` moves up: all rows before it are delivered."""

    def __init__(self, reader: PageReader, low: int, end: int) -> None:
        self.low = low
        self._reader = reader
        self._end = end
        self._page_size = self._top = reader.client.page_size
        self._largest_page = 0
        self._peeked = False
        self._done = False
        self._delivered: dict[Key, int] = {}  # the delivered rows from `low` on, and their ticks
        self._last_walk: frozenset[Key] | None = None

    def pages(self) -> Iterator[ScanPage]:
        """Yield the pages of `scan`. Raises ScanIncomplete, and what `PageReader.fetch` raises."""
        tries = 0
        while not self._done:
            before = self.low, self._top
            reason = "the server keeps changing what it shows for that instant"
            try:
                yield from self._walk()
            except ContradictionError as contradiction:
                reason = str(contradiction)
                _log.warning("scan starts again at %s: %s", render_ticks(self.low), reason)
            tries = 0 if (self.low, self._top) != before else tries + 1
            if tries > MAX_RESTARTS and not self._done:
                raise ScanIncomplete(
                    f"The referrals updated from {render_ticks(self.low)} on are not proven complete after "
                    f"{tries} tries: {reason}. What came so far is kept; the rest is asked for again "
                    "later. If it stays so, run `partner-center doctor --probe`."
                )

    def _walk(self) -> Iterator[ScanPage]:
        """Send a new query from `low` on, and follow next links or `$skip` until a page gets past `low`."""
        last, row_count, page_count, empty_pages = self.low, 0, 0, 0
        seen: set[Key] = set()
        links: set[str] = set()
        query = PageQuery(self._top, None if self.low == BEGINNING else self.low, self._end)
        page = self._reader.fetch(query)
        rows = rows_of(page)
        first = rows.keys()
        while True:
            last = self._check_order(rows.values(), last)
            if links and rows and rows.keys() <= seen:
                raise ContradictionError("a next link led to a page that was met before")
            seen.update(rows)
            row_count += len(page.items)
            page_count += 1
            empty_pages = 0 if rows else empty_pages + 1
            self._largest_page = max(self._largest_page, len(page.items))
            short = len(page.items) < min(self._largest_page, self._top)
            ends = last > self.low or (page.next_link is None and (short or not rows))
            if ends and page.next_link is not None and not self._peeked:
                self._peek(page.next_link, seen, last)
            fresh = self._fresh(rows)  # after every check that may drop the page: it marks the rows as delivered
            if ends:
                self._conclude(last, frozenset(seen), walked=page_count > 1)
            yield self._deliver(page, fresh)
            if ends:
                return
            if page.next_link is None:
                skipped = self._reader.fetch_skipping(query, row_count, first)
                if skipped is None:
                    self._conclude(last, frozenset(seen), walked=page_count > 1, full=row_count >= self._top)
                    yield self._deliver(replace(page, items=[]), [])
                    return
                page = skipped
            elif page.next_link in links or empty_pages > MAX_EMPTY_PAGES:
                raise ContradictionError("the next links lead nowhere")
            else:
                links.add(page.next_link)
                page = self._reader.follow(page.next_link, query, row_count, first)
            rows = rows_of(page)

    def _peek(self, link: str, seen: Set[Key], last: int) -> None:
        """Look once at the page after one that needs no link: it shows whether the server keeps rows back."""
        try:
            rows = rows_of(self._reader.fetch(link))
        except (ContradictionError, ForeignHost, ApiRefused):
            return  # a bad link is an error only where it has to be followed
        try:
            self._check_order((row for key, row in rows.items() if key not in seen), last)
        except ContradictionError:
            raise ContradictionError("a row was held back for the next page, against the order") from None
        self._peeked = True

    def _deliver(self, page: Page, fresh: Iterable[Row]) -> ScanPage:
        return self._reader.deliver(page, fresh, self._end if self._done else self.low, last=self._done)

    def _conclude(self, last: int, seen: frozenset[Key], *, walked: bool, full: bool = False) -> None:
        """Keep what a finished walk proves (windows.md, "Why a scan is complete", 2 to 4).

        `last` is the instant of its last row (ticks). `walked`: it had several pages. `full`: it had `$top` rows.
        """
        proven = seen == self._last_walk if walked else True
        self._last_walk = seen
        if last > self.low:
            if proven:
                self.low, self._last_walk, self._top = last, None, self._page_size
                self._delivered = {key: ticks for key, ticks in self._delivered.items() if ticks >= last}
        elif full:
            # `$top` may be the server's limit for the whole query. So a full answer does not end the scan where neither
            # a next link nor `$skip` leads further.
            self._top *= 2
        else:
            self._done = proven

    def _check_order(self, rows: Iterable[Row], last: int) -> int:
        """Return the ticks of the last row with an instant, `last` when there is none. Raises ContradictionError."""
        for row in rows:
            if isinstance(row, RejectedRow):
                continue
            if not last <= row.updated_ticks < self._end:
                raise ContradictionError("a row came out of order, or from outside the interval asked for")
            last = row.updated_ticks
        return last

    def _fresh(self, rows: dict[Key, Row]) -> list[Row]:
        """Return the rows not delivered before, and mark them as delivered."""
        fresh = {key: row for key, row in rows.items() if key not in self._delivered}
        for key, row in fresh.items():
            self._delivered[key] = self._end if isinstance(row, RejectedRow) else row.updated_ticks
        return list(fresh.values())
