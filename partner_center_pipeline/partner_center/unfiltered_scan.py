"""Scans an interval without a filter: the list from the newest referral down to the interval's start, until it is sure.

The argument for it is `scan`'s, 6 to 9. What does not belong here: the scan with a filter (`keyset_scan`).
"""

import logging
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from partner_center_pipeline.partner_center.client import Page
from partner_center_pipeline.partner_center.errors import ScanIncomplete
from partner_center_pipeline.partner_center.odata import PageQuery
from partner_center_pipeline.partner_center.page_reader import (
    MAX_EMPTY_PAGES,
    ContradictionError,
    Key,
    Reader,
    Row,
    key_of,
    rows_of,
)
from partner_center_pipeline.referral import RejectedRow, ScanPage
from partner_center_pipeline.windows import render_ticks

MAX_PASSES: Final = 8
"""How often the list is read before a scan gives up on two passes in a row that agree."""

RECENT_PAGES: Final = 16
"""How many pages back a row may have been met that comes again because others were put on top meanwhile."""

_log = logging.getLogger(__name__)


class _Digests:
    """A set of 64-bit digests, 8 bytes each: sorted by `seal`, then asked."""

    def __init__(self) -> None:
        self._kept = array("Q")

    def add(self, *texts: str) -> None:
        self._kept.append(_digest(*texts))

    def seal(self) -> None:
        self._kept = array("Q", sorted(self._kept))

    def __contains__(self, digest: int) -> bool:
        at = bisect_left(self._kept, digest)
        return at < len(self._kept) and self._kept[at] == digest

    def __iter__(self) -> Iterator[int]:
        return iter(self._kept)


def _digest(*texts: str) -> int:
    return int.from_bytes(blake2b("\0".join(texts).encode(), digest_size=8).digest())


@dataclass(slots=True)
class _Pass:
    """What one pass met: rows of the interval by (id, version), all rows by id. `began`: the server's time (ticks)."""

    began: int = 0
    inside: _Digests = field(default_factory=_Digests)
    ids: _Digests = field(default_factory=_Digests)

    def seal(self) -> None:
        self.inside.seal()
        self.ids.seal()


class DescendingScan:
    """One scan of `[low, end)`. `lag` (ticks) is how far apart the server's own clocks may be."""

    def __init__(self, reader: Reader, low: int, end: int, lag: int) -> None:
        self._reader = reader
        self._low = low
        self._end = end
        self._lag = lag
        self._top = reader.client.page_size

    def pages(self) -> Iterator[ScanPage]:
        """The pages of `scan`. Raises ScanIncomplete, and what `Reader.fetch` raises."""
        before: _Pass | None = None
        reason = "no two passes met the same referrals"
        for _ in range(MAX_PASSES):
            this, held, proven = _Pass(), None, False
            try:
                for page, fresh in self._read(this, self._low, before):
                    if held is not None:
                        yield self._reader.deliver(*held, self._low, last=False)
                    held = page, fresh
                this.seal()
                proven = before is not None and self._agree(before, this)
                before = this
            except ContradictionError as found:
                reason = str(found)
                _log.warning("the list of referrals is read anew: %s", reason)
            if held is not None:
                yield self._reader.deliver(*held, self._end if proven else self._low, last=proven)
            if proven:
                return
        raise ScanIncomplete(
            f"The referrals updated from {render_ticks(self._low)} on are not proven complete after {MAX_PASSES} "
            f"passes over the list, which is read without a filter: {reason}. What came so far is kept; the rest is "
            "asked for again later. If it stays so, run `partner-center doctor --probe`."
        )

    def _agree(self, before: _Pass, this: _Pass) -> bool:
        """Whether the second pass met nothing new, and missed no referral that is not now on top of the list."""
        if any(digest not in before.inside for digest in this.inside):
            return False
        if all(digest in this.ids for digest in before.ids):
            return True
        head = _Pass()
        for _ in self._read(head, max(self._end, this.began - self._lag), None):
            pass
        head.seal()
        return all(digest in this.ids or digest in head.ids for digest in before.ids)

    def _read(self, this: _Pass, floor: int, before: _Pass | None) -> Iterator[tuple[Page, list[Row]]]:
        """Read the list from the top until a row lies below `floor`: pages, and what `before` did not have of each."""
        query = PageQuery(self._top, descending=True)
        page = self._reader.fetch(query)
        this.began, first = page.server_ticks, rows_of(page).keys()
        recent: deque[frozenset[Key]] = deque(maxlen=RECENT_PAGES)
        links: set[int] = set()
        at: int | None = None
        read = stale = 0
        while True:
            rows = rows_of(page)
            new = [row for key, row in rows.items() if not any(key in met for met in recent)]
            at = _check_order(new, at)
            yield page, self._note(this, new, before)
            if at is not None and at < floor:
                return
            recent.append(frozenset(rows))
            read += len(page.items)
            stale = 0 if new else stale + 1
            if stale > MAX_EMPTY_PAGES:
                raise ContradictionError("the pages bring nothing new and do not end")
            if page.next_link is not None:
                if (link := _digest(page.next_link)) in links:
                    raise ContradictionError("the next links lead nowhere")
                links.add(link)
                page = self._reader.fetch(page.next_link)
            elif not page.items:
                return
            elif (behind := self._reader.behind(query, read, first)) is not None:
                page = behind
            elif links or read < self._top:
                return
            else:
                self._top *= 2
                raise ContradictionError("a full page has no next link, and $skip is not taken")

    def _note(self, this: _Pass, rows: Iterable[Row], before: _Pass | None) -> list[Row]:
        """Keep what a page met; its rows that belong to the interval, or have no place, and are new to the scan."""
        fresh = []
        for row in rows:
            key = key_of(row)
            if isinstance(row, RejectedRow):
                this.ids.add(*key)
            elif row.updated_ticks >= self._low:
                this.ids.add(row.referral_id)
            if isinstance(row, RejectedRow) or self._low <= row.updated_ticks < self._end:
                this.inside.add(*key)
                if before is None or _digest(*key) not in before.inside:
                    fresh.append(row)
        return fresh


def _check_order(rows: Iterable[Row], at: int | None) -> int | None:
    """The last placed row's ticks, `at` when there is none."""
    for row in rows:
        if isinstance(row, RejectedRow):
            continue
        if at is not None and row.updated_ticks > at:
            raise ContradictionError("a row came out of order")
        at = row.updated_ticks
    return at
