"""Scans an interval of `updatedDateTime` so that the result is proven complete, or says that it is not.

Here belongs which page comes next and what the pages together prove. What does not belong here: how a page is
fetched (`client`), what a row must hold (`contract`), where rows go (the caller).
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from partner_center_pipeline.partner_center.client import Page, ReferralsClient
from partner_center_pipeline.partner_center.contract import ReferralVersion, Rejected, read_referral
from partner_center_pipeline.partner_center.errors import ApiRefused, ScanIncomplete, TooEarly
from partner_center_pipeline.partner_center.odata import PageQuery
from partner_center_pipeline.windows import BEGINNING, TICKS_PER_SECOND, render_ticks

MAX_RESTARTS: Final = 5
"""How often in a row a scan starts again from the last proven row without getting further."""

MAX_EMPTY_PAGES: Final = 100
"""Empty pages in a row that a scan follows by next links before it takes them for a loop."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScanPage:
    """What one page of the API brought.

    `versions` and `rejected` hold what this scan had not delivered before. Every row of the interval with
    `updated_ticks < position` has been delivered once this page is stored, so committing `position` (ticks)
    with the page's rows lets a later scan go on with `resume_from=position`. `fetched` is the number of rows
    the page held, `server_ticks` and `skew_seconds` are the page's (`client.Page`), `seconds_waited` is how
    long the client paused between tries since the page before. On the `last` page the interval is complete
    and `position` is its end.
    """

    versions: tuple[ReferralVersion, ...]
    rejected: tuple[Rejected, ...]
    position: int
    fetched: int
    server_ticks: int
    skew_seconds: float
    seconds_waited: float
    last: bool


def scan(
    client: ReferralsClient,
    *,
    start: int | None,
    end: int,
    resume_from: int | None = None,
    not_before: int,
    patience: float = 30.0,
) -> Iterator[ScanPage]:
    """Every referral whose `updatedDateTime` is in `[start, end)`, page by page, ascending. Times are ticks.

    `start` None means no lower bound. `resume_from` is the `position` of an earlier, broken-off scan of the
    same interval. The server's clock (the `Date` header of each very answer) must have reached `not_before`,
    the end plus the safety lag; a page that comes too early is asked again for up to `patience` seconds in
    all.

    Why the result is complete:

    1. An update gives a referral a new `updatedDateTime`, which is the server's now. Once the server's clock
       is past `end` plus the lag, that is past `end`: rows can only leave the interval, none can enter it.
    2. Each page is asked anew as `updatedDateTime ge <last seen> and updatedDateTime lt <end>`, ascending.
       Such a page is the beginning of what is left, so everything before its last row's instant is on it or
       was met before; only rows of that very instant may be cut off, and the next query begins at that
       instant. A row that stays in the interval keeps its place and is met; rows met before are told by (id,
       version) and dropped. No offset is used, so a row that leaves shifts nothing past the reader.
    3. When one query's first page does not get past the instant it began at (more rows share an instant than
       fit on a page, or rows without a usable time fill it), the server's next links are walked until one
       does. A link may count offsets, which 2 does not cover. So the walk is repeated until two walks in a
       row meet the same (id, version)s: a row is skipped only when one read before it left meanwhile, and
       then the second walk misses that one.
    4. A page that gets past the instant it began at never ends the scan, however short it is: the next query
       does, with no row past that instant, no next link, and fewer rows than `$top`.
    5. A row out of order or outside the asked interval, a page that was met before, and a link that loops or
       is refused contradict 2 and 3. The page is dropped and the scan starts again from the last proven row,
       at most `MAX_RESTARTS` times in a row.

    Rows that break the contract have no place in the order; each is delivered once per scan, told by its
    fingerprint.

    Raises ScanIncomplete when the pages keep contradicting each other, TooEarly, and all that
    `ReferralsClient.get_page` raises. The pages delivered before stay right.
    """
    low = BEGINNING if start is None else start
    return _Scan(client, end, low if resume_from is None else max(low, resume_from), not_before, patience).pages()


class _ContradictionError(Exception):
    """A page that the argument of `scan` does not allow."""


_Row = ReferralVersion | Rejected
_Key = tuple[str, str]
"""(id, version) of a version; ("", fingerprint) of a row without a place, as no id is empty."""


class _Scan:
    """The state of one scan: everything before `low` is delivered, and of the rest what `delivered` holds."""

    def __init__(self, client: ReferralsClient, end: int, low: int, not_before: int, patience: float) -> None:
        self.client = client
        self.end = end
        self.low = low
        self.not_before = not_before
        self.patience = patience
        self.top = client.page_size
        self.done = False
        self.delivered: dict[_Key, int] = {}
        self.last_walk: frozenset[_Key] | None = None
        self.waited = client.seconds_waited

    def pages(self) -> Iterator[ScanPage]:
        fruitless = 0
        while not self.done:
            before = self.low, self.top
            reason = "the server keeps changing what it shows for that instant"
            try:
                yield from self._walk()
            except _ContradictionError as found:
                reason = str(found)
                _log.warning("scan starts again at %s: %s", render_ticks(self.low), reason)
            fruitless = 0 if (self.low, self.top) != before else fruitless + 1
            if fruitless > MAX_RESTARTS and not self.done:
                raise ScanIncomplete(
                    f"The referrals updated from {render_ticks(self.low)} on are not proven complete after "
                    f"{fruitless} tries: {reason}. What came so far is kept; the rest is asked for again "
                    "later."
                )

    def _walk(self) -> Iterator[ScanPage]:
        """Ask anew from `low`, and follow next links for as long as no page gets past `low`."""
        at, fetched, empty = self.low, 0, 0
        met: set[_Key] = set()
        links: set[str] = set()
        request: PageQuery | str = PageQuery(self.top, None if self.low == BEGINNING else self.low, self.end)
        while True:
            page = self._fetch(request)
            rows = {_key(row): row for row in map(read_referral, page.items)}
            at = self._check_order(rows.values(), at)
            if links and rows and rows.keys() <= met:
                raise _ContradictionError("a next link led to a page that was met before")
            met.update(rows)
            fetched += len(page.items)
            empty = 0 if rows else empty + 1
            fresh = self._fresh(rows)
            over = at > self.low or page.next_link is None
            if over:
                self._conclude(at, frozenset(met), walked=bool(links), full=fetched >= self.top)
            yield self._page(page, fresh)
            if over:
                return
            if page.next_link in links or empty > MAX_EMPTY_PAGES:
                raise _ContradictionError("the next links lead nowhere")
            request = str(page.next_link)
            links.add(request)

    def _conclude(self, at: int, met: frozenset[_Key], *, walked: bool, full: bool) -> None:
        """What a finished walk proves; see the numbered argument of `scan`."""
        proven = met == self.last_walk if walked else True
        self.last_walk = met
        if at > self.low:
            if proven:
                self.low, self.last_walk, self.top = at, None, self.client.page_size
                self.delivered = {key: ticks for key, ticks in self.delivered.items() if ticks >= at}
        elif full:
            # `$top` may be the server's limit for the whole query, so a full answer without a link ends
            # nothing.
            self.top *= 2
        else:
            self.done = proven

    def _fetch(self, request: PageQuery | str) -> Page:
        while True:
            try:
                page = self.client.get_page(request)
            except ApiRefused as refused:
                if isinstance(request, str) and refused.status == 400:
                    raise _ContradictionError("a next link was refused, as one that is too old is") from refused
                raise
            missing = (self.not_before - page.server_ticks) / TICKS_PER_SECOND
            if missing <= 0:
                return page
            if missing > self.patience:
                raise TooEarly(
                    f"The server's clock says {render_ticks(page.server_ticks)}; this interval may be read "
                    f"from {render_ticks(self.not_before)} on (its end plus "
                    "HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS). Try again then."
                )
            self.patience -= missing
            self.client.clock.sleep(missing)

    def _check_order(self, rows: Iterable[_Row], at: int) -> int:
        """The last placed row's ticks, `at` when there is none."""
        for row in rows:
            if isinstance(row, Rejected):
                continue
            if not at <= row.updated_ticks < self.end:
                raise _ContradictionError("a row came out of order, or from outside the interval asked for")
            at = row.updated_ticks
        return at

    def _fresh(self, rows: dict[_Key, _Row]) -> list[_Row]:
        """The rows not delivered before, now marked as delivered."""
        fresh = {key: row for key, row in rows.items() if key not in self.delivered}
        for key, row in fresh.items():
            self.delivered[key] = self.end if isinstance(row, Rejected) else row.updated_ticks
        return list(fresh.values())

    def _page(self, page: Page, fresh: list[_Row]) -> ScanPage:
        waited, self.waited = self.client.seconds_waited - self.waited, self.client.seconds_waited
        return ScanPage(
            versions=tuple(row for row in fresh if isinstance(row, ReferralVersion)),
            rejected=tuple(row for row in fresh if isinstance(row, Rejected)),
            position=self.end if self.done else self.low,
            fetched=len(page.items),
            server_ticks=page.server_ticks,
            skew_seconds=page.skew_seconds,
            seconds_waited=waited,
            last=self.done,
        )


def _key(row: _Row) -> _Key:
    return ("", row.fingerprint) if isinstance(row, Rejected) else (row.referral_id, row.version)
