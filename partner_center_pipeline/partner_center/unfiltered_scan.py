"""The scan without a filter: it reads the list from the newest referral down, until two passes agree.

Why it is complete: windows.md, "Why a scan is complete", 7 to 10. Not here: the scan with a filter (`keyset_scan`).
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from partner_center_pipeline.partner_center.client import Page
from partner_center_pipeline.partner_center.digests import Digests, digest
from partner_center_pipeline.partner_center.errors import ScanIncomplete
from partner_center_pipeline.partner_center.odata import PageQuery
from partner_center_pipeline.partner_center.page_reader import (
    MAX_EMPTY_PAGES,
    SLACK,
    SMALLEST_LIMIT,
    ContradictionError,
    Key,
    PageReader,
    Row,
    key_of,
    rows_of,
)
from partner_center_pipeline.referral import ReferralVersion, RejectedRow, ScanPage
from partner_center_pipeline.windows import render_ticks

MAX_PASSES: Final = 8
"""The number of passes over the list after which a scan gives up."""

RECENT_PAGES: Final = 16
"""A row may come again from this many pages back, because updated rows moved to the top and pushed it down."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pass:
    """What one pass saw: (id, version) of the rows in the interval (`inside`), ids of those and of the rows above it.

    `began` is the server's time of the first page (ticks).
    """

    began: int = 0
    inside: Digests = field(default_factory=Digests)
    ids: Digests = field(default_factory=Digests)

    def sort(self) -> None:
        self.inside.sort()
        self.ids.sort()


class UnfilteredScan:
    """One scan of `[low, end)`. The server's own clocks differ by at most `lag`. All are ticks."""

    def __init__(self, reader: PageReader, low: int, end: int, lag: int) -> None:
        self._reader = reader
        self._low = low
        self._end = end
        self._lag = lag
        self._top = reader.client.page_size

    def pages(self) -> Iterator[ScanPage]:
        """Yield the pages of `scan`. Raises ScanIncomplete, and what `PageReader.fetch` raises."""
        previous: _Pass | None = None
        reason = "no two passes met the same referrals"
        for _ in range(MAX_PASSES):
            current, undelivered, proven = _Pass(), None, False
            try:
                for page, fresh in self._read_list(current, self._low, previous):
                    if undelivered is not None:
                        yield self._reader.deliver(*undelivered, self._low, last=False)
                    undelivered = page, fresh
                current.sort()
                proven = previous is not None and self._agree(previous, current)
                previous = current
            except ContradictionError as contradiction:
                reason = str(contradiction)
                _log.warning("the list of referrals is read anew: %s", reason)
            if undelivered is not None:
                yield self._reader.deliver(*undelivered, self._end if proven else self._low, last=proven)
            if proven:
                return
        raise ScanIncomplete(
            f"The referrals updated from {render_ticks(self._low)} on are not proven complete after {MAX_PASSES} "
            f"passes over the list, which is read without a filter: {reason}. What came so far is kept; the rest is "
            "asked for again later. If it stays so, run `partner-center doctor --probe`."
        )

    def _agree(self, previous: _Pass, current: _Pass) -> bool:
        """Say whether the second pass saw nothing new and missed only referrals that are at the top of the list now."""
        if any(each not in previous.inside for each in current.inside):
            return False
        if all(each in current.ids for each in previous.ids):
            return True
        top = _Pass()
        for _ in self._read_list(top, max(self._end, current.began - self._lag), None):
            pass
        top.sort()
        return all(each in current.ids or each in top.ids for each in previous.ids)

    def _read_list(self, current: _Pass, floor: int, previous: _Pass | None) -> Iterator[tuple[Page, list[Row]]]:
        """Read the list from the top to the first row below `floor` (ticks).

        Yield each page, with those of its rows to deliver that `previous` did not see. Add what is seen to `current`.
        """
        query = PageQuery(self._top, descending=True)
        page = self._reader.fetch(query)
        current.began, first = page.server_ticks, rows_of(page).keys()
        recent: deque[frozenset[Key]] = deque(maxlen=RECENT_PAGES)
        links: set[int] = set()
        last: int | None = None
        row_count = pages_without_new = last_size = 0

        def is_met(key: Key) -> bool:
            return any(key in keys for keys in recent)

        while True:
            rows = rows_of(page)
            new = [row for key, row in rows.items() if not is_met(key)]
            last = _check_order(new, last)
            yield page, self._record(current, new, previous)
            if last is not None and last < floor - 2 * SLACK:
                return
            recent.append(frozenset(rows))
            row_count += len(page.items)
            last_size = len(page.items) or last_size
            pages_without_new = 0 if new else pages_without_new + 1
            if pages_without_new > MAX_EMPTY_PAGES:
                raise ContradictionError("the pages bring nothing new and do not end")
            if page.next_link is not None:
                if (link := digest(page.next_link)) in links:
                    raise ContradictionError("the next links lead nowhere")
                links.add(link)
                page = self._reader.follow(page.next_link, query, row_count, first, is_met)
            elif not page.items and not links:
                return
            elif (skipped := self._reader.fetch_skipping(query, row_count, first, is_met)) is None:
                self._confirm_end(current, floor, row_count, last_size)
                return
            elif not skipped.items:
                return
            else:
                page = skipped

    def _confirm_end(self, current: _Pass, floor: int, row_count: int, last_size: int) -> None:
        """Raise ContradictionError unless the other end of the list shows that it was read to its end.

        It should reach down to `floor` (ticks). `row_count` rows were read; the last page that was not empty had
        `last_size`. Asked where `$skip` is not taken.
        """
        if row_count == last_size >= self._top:
            self._top *= 2
            raise ContradictionError("a full page has no next link, and $skip is not taken")
        oldest = self._reader.fetch_if_taken(PageQuery(self._top))
        shown = [row for row in rows_of(oldest).values() if isinstance(row, ReferralVersion)] if oldest else []
        # Rows from the future and rows without a date say nothing: a page of them hides what lies between.
        telling = [row for row in shown if row.updated_ticks < current.began - self._lag]
        if not telling and last_size >= SMALLEST_LIMIT:
            raise ContradictionError("nothing but the server's word says that the list ends there")
        current.sort()
        for row in telling:
            is_noted = row.updated_ticks >= self._low or row.updated_ticks < floor - 2 * SLACK
            if is_noted and digest(row.referral_id) not in current.ids:
                raise ContradictionError("the other end of the list shows referrals that its pages did not")

    def _record(self, current: _Pass, rows: Iterable[Row], previous: _Pass | None) -> list[Row]:
        """Add rows to `current`; return those that are rejected or in the interval, and that `previous` did not see."""
        fresh = []
        for row in rows:
            key = key_of(row)
            if isinstance(row, RejectedRow):
                current.ids.add(*key)
            elif row.updated_ticks >= self._low:
                current.ids.add(row.referral_id)
            if isinstance(row, RejectedRow) or self._low <= row.updated_ticks < self._end:
                current.inside.add(*key)
                if previous is None or digest(*key) not in previous.inside:
                    fresh.append(row)
        return fresh


def _check_order(rows: Iterable[Row], last: int | None) -> int | None:
    """Return the earliest instant so far (ticks), `last` when there is none. Raises ContradictionError."""
    for row in rows:
        if isinstance(row, RejectedRow):
            continue
        if last is not None and row.updated_ticks > last + SLACK:
            raise ContradictionError("a row came out of order")
        last = row.updated_ticks if last is None else min(last, row.updated_ticks)
    return last
