"""What both ways of scanning share: reading a page when the server's clock allows it, and making a `ScanPage` of it.

Not here: which page comes next (`keyset_scan`, `unfiltered_scan`).
"""

import logging
from collections.abc import Callable, Iterable, Set
from dataclasses import replace
from typing import Final

from partner_center_pipeline.partner_center.client import Page, ReferralsClient
from partner_center_pipeline.partner_center.contract import read_referral
from partner_center_pipeline.partner_center.errors import ApiRefused, FilterRefused, PartnerCenterError, TooEarly
from partner_center_pipeline.partner_center.isolation import TRIES, Isolation, RowsMovedError, may_be_a_row
from partner_center_pipeline.partner_center.odata import PageQuery
from partner_center_pipeline.partner_center.retry import repeats
from partner_center_pipeline.partner_center.schema_drift import DriftWatch
from partner_center_pipeline.referral import ReferralVersion, RejectedRow, ScanPage
from partner_center_pipeline.telling import shown_seconds
from partner_center_pipeline.windows import TICKS_PER_SECOND, render_ticks

MAX_EMPTY_PAGES: Final = 100
"""Pages in a row without a new row; when there are more, the next links are taken for a loop."""

SLACK: Final = TICKS_PER_SECOND
"""Ticks by which a server's comparison or order of instants may be off, because it rounds or cuts them."""

SMALLEST_LIMIT: Final = 10
"""No server limits its pages to fewer rows than this. So a smaller page was not cut off."""

_log = logging.getLogger(__name__)


class ContradictionError(Exception):
    """A page that the argument of windows.md, "Why a scan is complete", does not allow."""


class NotKeptError(ContradictionError):
    """The server does not keep to a query's filter or order, so this way of scanning proves nothing."""


Row = ReferralVersion | RejectedRow
Key = tuple[str, str]
"""(id, version) of a version; ("", fingerprint) of a rejected row. No id is empty."""

IsMet = Callable[[Key], bool]
"""Whether a row came before in what is read."""


def _never(_: Key) -> bool:
    return False


def key_of(row: Row) -> Key:
    """Return the key that identifies a row."""
    return ("", row.fingerprint) if isinstance(row, RejectedRow) else (row.referral_id, row.version)


def rows_of(page: Page) -> dict[Key, Row]:
    """Return a page's rows by key, in the page's order; a row that is there twice counts once."""
    return {key_of(row): row for row in map(read_referral, page.items)}


class PageReader:
    """Reads pages for one scan. No page counts before the server's clock has reached `not_before` (ticks).

    Until then the same page is asked for again, for up to `patience` seconds in all.
    """

    def __init__(self, client: ReferralsClient, not_before: int, patience: float) -> None:
        self.client = client
        self._not_before = not_before
        self._patience = patience
        self._waited = client.seconds_waited
        self._drift = DriftWatch()
        self._isolation = Isolation(self._ask)

    def fetch(self, request: PageQuery | str) -> Page:
        """Return a page. Raises ContradictionError for a refused link, TooEarly, and what `get_page` raises.

        Where a query is refused because of a row or of its size, the page may be shorter, and a RejectedRow stands for
        a row that cannot be read (`isolation`).
        """
        largest = self._isolation.largest
        if largest is not None and isinstance(request, PageQuery) and request.top > largest:
            request = replace(request, top=largest)
        try:
            return self._ask(request, tries=TRIES)
        except PartnerCenterError as error:
            if isinstance(error, ApiRefused) and isinstance(request, str) and error.status == 400:
                raise ContradictionError("a next link was refused, as one that is too old is") from error
            if not may_be_a_row(error):
                raise
            return self._read_around(request, error)

    def _read_around(self, request: PageQuery | str, error: PartnerCenterError) -> Page:
        """Return a page for a request that was refused, perhaps because of one of its rows."""
        _log.warning(
            "%s. What is asked for may hold a row that cannot be sent: the row is looked for", error.what_happened
        )
        like = PageQuery(1, self._not_before, self._not_before) if self.client.filters else PageQuery(1)
        if not self._isolation.server_works(like if isinstance(request, str) else request):
            if repeats(error):  # the server is in trouble: go on trying until the deadline
                return self._ask(request, tries=None)
            raise error
        if isinstance(request, str):
            raise ContradictionError("a next link was refused again and again") from error
        try:
            return self._isolation.page(request, error)
        except RowsMovedError as moved:
            raise ContradictionError(str(moved)) from moved

    def follow(self, link: str, query: PageQuery, skip: int, first: Set[Key], is_met: IsMet = _never) -> Page:
        """Return the page that a next link leads to; where it is refused, the one after the query's first `skip` rows.

        Raises ContradictionError where neither leads further, and what `fetch` and `fetch_skipping` raise.
        """
        try:
            return self.fetch(link)
        except ContradictionError:
            page = self.fetch_skipping(query, skip, first, is_met)
            if page is None:
                raise
            return page

    def _ask(self, request: PageQuery | str, *, tries: int | None) -> Page:
        while True:
            page = self.client.get_page(request, tries=tries)
            seconds_left = (self._not_before - page.server_ticks) / TICKS_PER_SECOND
            if seconds_left <= 0:
                return page
            if seconds_left > self._patience:
                raise TooEarly(
                    f"The server's clock says {render_ticks(page.server_ticks)}; this interval may be read "
                    f"from {render_ticks(self._not_before)} on (its end plus "
                    "HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS). Try again then."
                )
            self._patience -= seconds_left
            _log.info(
                "Partner Center's clock says %s, and this interval may be read from %s on: the page is asked for again "
                "in %s",
                render_ticks(page.server_ticks), render_ticks(self._not_before), shown_seconds(seconds_left),
            )  # fmt: skip
            self.client.clock.sleep(seconds_left)

    def fetch_if_taken(self, query: PageQuery) -> Page | None:
        """Return a page; None where the server refuses the query with 400. Raises what `fetch` raises."""
        try:
            return self.fetch(query)
        except ApiRefused as refused:
            if refused.status != 400 or isinstance(refused, FilterRefused):
                raise
            return None

    def look(self, query: PageQuery) -> Page | None:
        """Return a page that is only compared with what came; None where it is refused, perhaps because of a row.

        It holds rows of other intervals, which may not stop this one. Raises what `fetch` raises for other errors.
        """
        try:
            return self._ask(query, tries=TRIES)
        except PartnerCenterError as error:
            if not may_be_a_row(error):
                raise
            return None

    def fetch_skipping(self, query: PageQuery, skip: int, first: Set[Key], is_met: IsMet = _never) -> Page | None:
        """Return the page after a query's first `skip` rows; None where the server refuses or ignores `$skip`.

        `first` holds the keys of the query's first page; `is_met` says whether a row was among the `skip` rows. Such a
        row comes again where new rows came on top, or on a page that was read around a row. Raises NotKeptError where
        neither is so: a row before it was not shown. Raises what `fetch` raises.
        """
        page = self.fetch_if_taken(replace(query, skip=skip))
        if page is None:
            return None
        rows = rows_of(page)
        is_first_again = bool(rows) and rows.keys() == first
        is_read_around = any(isinstance(item, RejectedRow) for item in page.items)
        comes_again = not is_read_around and any(
            is_met(key) for key, row in rows.items() if isinstance(row, ReferralVersion)
        )
        if not is_first_again and not comes_again:
            return page
        if rows_of(self.fetch(query)).keys() != first:
            return page
        if is_first_again:
            return None
        raise NotKeptError("$skip brings a row that came before, so a row before it is held back")

    def deliver(self, page: Page, fresh: Iterable[Row], position: int, *, last: bool) -> ScanPage:
        """Return the `ScanPage` of a page: `fresh` are its rows that were not delivered before."""
        rows = list(fresh)
        versions = tuple(row for row in rows if isinstance(row, ReferralVersion))
        waited, self._waited = self.client.seconds_waited - self._waited, self.client.seconds_waited
        return ScanPage(
            versions=versions,
            rejected=tuple(row for row in rows if isinstance(row, RejectedRow)),
            drift=tuple(self._drift.new_drift([(row.referral_id, row.payload) for row in versions])),
            position=position,
            fetched=len(page.items),
            server_ticks=page.server_ticks,
            skew_seconds=page.skew_seconds,
            seconds_waited=waited,
            last=last,
        )
