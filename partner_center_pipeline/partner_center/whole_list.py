"""The reading of all that the account sees, whatever its dates: for the weekly comparison.

It shares no question with the scans of the windows: there is no filter on `updatedDateTime` and no order by it. Why the
result is complete: windows.md, "Reconcile".
"""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from partner_center_pipeline.partner_center.client import ReferralsClient
from partner_center_pipeline.partner_center.digests import Digests, digest
from partner_center_pipeline.partner_center.errors import ApiRefused, ScanIncomplete
from partner_center_pipeline.partner_center.odata import PageQuery
from partner_center_pipeline.partner_center.page_reader import (
    MAX_EMPTY_PAGES,
    ContradictionError,
    Key,
    PageReader,
    Row,
    key_of,
    rows_of,
)
from partner_center_pipeline.referral import RejectedRow, ScanPage
from partner_center_pipeline.windows import parse_ticks

MAX_PASSES: Final = 8
"""The number of passes over the list after which the reading gives up."""

RECENT_PAGES: Final = 16
"""A row that comes again from this many pages back is not new: offsets shift where rows come or go."""

_PARTS: Final = tuple(product(("Incoming", "Outgoing"), ("New", "Active", "Closed")))
"""Each direction and status (partner_center_api.md, section 3.4): another question, in a documented form."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pass:
    """What one pass saw: ids of all referrals (`ids`), of those that were there when the reading began (`settled`).

    A row that breaks the contract is not among the settled ones: its dates may be unreadable. `versions` has
    (id, version), or ("", fingerprint) of such a row.
    """

    ids: Digests = field(default_factory=Digests)
    settled: Digests = field(default_factory=Digests)
    versions: Digests = field(default_factory=Digests)

    def sort(self) -> None:
        self.ids.sort()
        self.settled.sort()
        self.versions.sort()


class WholeList:
    """One reading of the list, up to `end`, where the claim of the windows ends. The server's clock must be past it.

    The server's own clocks differ by at most `lag`. All are ticks. No page counts before the server's clock has reached
    the end plus the lag; one that comes too early is asked for again for up to `patience` seconds in all.
    """

    def __init__(self, client: ReferralsClient, *, end: int, lag: int, patience: float = 30.0) -> None:
        self._reader = PageReader(client, end + lag, patience)
        self._end = end
        self._lag = lag
        self._began: int | None = None
        self._last = _Pass()

    def pages(self) -> Iterator[ScanPage]:
        """Yield every referral that the account sees, each version once or twice.

        The list is read by `createdDateTime`, in turn from the oldest down and from the newest up, until two passes met
        the same referrals and each part by direction and status shows none but those. Raises ScanIncomplete, and what
        `PageReader.fetch` raises.
        """
        reason = "no two passes met the same referrals"
        previous: _Pass | None = None
        for number in range(MAX_PASSES):
            current = _Pass()
            try:
                yield from self._read(current, previous, descending=number % 2 == 1)
                current.sort()
                if previous is not None and _agree(previous, current):
                    yield from self._check_parts(current)
                    self._last = current
                    return
                previous = current
            except ContradictionError as contradiction:
                reason, previous = str(contradiction), None
                _log.warning("the list of referrals is read anew: %s", reason)
        raise ScanIncomplete(
            f"The list of all referrals is not proven complete after {MAX_PASSES} passes over it, in turn from either "
            f"end: {reason}. What came is kept, and nothing is taken for vanished. Run `partner-center reconcile` "
            "later; if it stays so, run `partner-center doctor --probe`."
        )

    def shows(self, referral_id: str) -> bool:
        """Say whether the list showed a referral, after `pages` has come to its end."""
        return digest(referral_id) in self._last.ids

    def _read(self, current: _Pass, previous: _Pass | None, *, descending: bool) -> Iterator[ScanPage]:
        """Yield the pages from one end of the list to the other, without the versions that `previous` saw."""
        query = PageQuery(self._reader.client.page_size, by_created=True, descending=descending)
        page = self._reader.fetch(query)
        if self._began is None:
            self._began = page.server_ticks
        first = rows_of(page).keys()
        recent: deque[frozenset[Key]] = deque(maxlen=RECENT_PAGES)
        links: set[int] = set()
        row_count = pages_without_new = 0

        def is_met(key: Key) -> bool:
            return any(key in keys for keys in recent)

        while True:
            rows = rows_of(page)
            new = [row for key, row in rows.items() if not is_met(key)]
            for row in new:
                self._note(current, row)
            fresh = [row for row in new if previous is None or digest(*key_of(row)) not in previous.versions]
            yield self._reader.deliver(page, fresh, self._end, last=False)
            recent.append(frozenset(rows))
            row_count += len(page.items)
            pages_without_new = 0 if new else pages_without_new + 1
            if pages_without_new > MAX_EMPTY_PAGES:
                raise ContradictionError("the pages bring nothing new and do not end")
            if page.next_link is not None:
                if (link := digest(page.next_link)) in links:
                    raise ContradictionError("the next links lead nowhere")
                links.add(link)
                page = self._reader.fetch(page.next_link)
            elif not page.items or (skipped := self._reader.fetch_skipping(query, row_count, first, is_met)) is None:
                return
            else:
                page = skipped

    def _note(self, current: _Pass, row: Row) -> None:
        current.versions.add(*key_of(row))
        if row.referral_id is not None:
            current.ids.add(row.referral_id)
        if self._was_there(row):
            current.settled.add(key_of(row)[0])

    def _was_there(self, row: Row) -> bool:
        """Say whether a referral was there when the reading began; one that came since need not be in both passes."""
        if isinstance(row, RejectedRow):
            return False
        created = row.payload.get("createdDateTime")
        try:
            ticks = parse_ticks(created) if isinstance(created, str) else None
        except ValueError:
            ticks = None
        return ticks is None or ticks < (self._began or 0) - self._lag

    def _check_parts(self, current: _Pass) -> Iterator[ScanPage]:
        """Yield the newest page of each part. Raises ContradictionError for a referral that the list did not show."""
        for direction, status in _PARTS:
            where = f"direction eq '{direction}' and status eq '{status}'"
            try:
                page = self._reader.fetch(
                    PageQuery(self._reader.client.page_size, by_created=True, descending=True, where=where)
                )
            except ApiRefused as refused:
                if refused.status != 400:
                    raise
                continue
            rows = rows_of(page).values()
            yield self._reader.deliver(
                page, [row for row in rows if digest(*key_of(row)) not in current.versions], self._end, last=False
            )
            for row in rows:
                if self._was_there(row) and digest(key_of(row)[0]) not in current.ids:
                    raise ContradictionError("a filter by direction and status shows more than the list without one")


def _agree(one: _Pass, other: _Pass) -> bool:
    return all(each in other.settled for each in one.settled) and all(each in one.settled for each in other.settled)
