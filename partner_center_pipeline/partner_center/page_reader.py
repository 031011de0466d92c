"""What both ways of scanning share: reading a page once the server's clock allows it, and what a page becomes.

What does not belong here: which page comes next (`keyset`, `descending`), and the argument why that is all (`scan`).
"""

from collections.abc import Iterable, Set
from dataclasses import replace
from typing import Final

from partner_center_pipeline.partner_center.client import FilterRefused, Page, ReferralsClient
from partner_center_pipeline.partner_center.contract import read_referral
from partner_center_pipeline.partner_center.errors import ApiRefused, TooEarly
from partner_center_pipeline.partner_center.odata import PageQuery
from partner_center_pipeline.partner_center.schema_drift import DriftWatch
from partner_center_pipeline.referral import ReferralVersion, RejectedRow, ScanPage
from partner_center_pipeline.windows import TICKS_PER_SECOND, render_ticks

MAX_EMPTY_PAGES: Final = 100
"""Pages in a row without anything new that are followed by next links before they are taken for a loop."""


class ContradictionError(Exception):
    """A page that the argument of `scan` does not allow."""


Row = ReferralVersion | RejectedRow
Key = tuple[str, str]
"""(id, version) of a version; ("", fingerprint) of a row without a place, as no id is empty."""


def key_of(row: Row) -> Key:
    """What tells rows apart."""
    return ("", row.fingerprint) if isinstance(row, RejectedRow) else (row.referral_id, row.version)


def rows_of(page: Page) -> dict[Key, Row]:
    """A page's rows, in its order; one that is there twice counts once."""
    return {key_of(row): row for row in map(read_referral, page.items)}


class Reader:
    """Reads pages for one scan. No page counts before the server's clock has reached `not_before` (ticks).

    Where it has not, the same page is asked for again for up to `patience` seconds in all.
    """

    def __init__(self, client: ReferralsClient, not_before: int, patience: float) -> None:
        self.client = client
        self._not_before = not_before
        self._patience = patience
        self._waited = client.seconds_waited
        self._drift = DriftWatch()

    def fetch(self, request: PageQuery | str) -> Page:
        """A page. Raises ContradictionError for a link that is refused, TooEarly, and what `get_page` raises."""
        while True:
            try:
                page = self.client.get_page(request)
            except ApiRefused as refused:
                if isinstance(request, str) and refused.status == 400:
                    raise ContradictionError("a next link was refused, as one that is too old is") from refused
                raise
            missing = (self._not_before - page.server_ticks) / TICKS_PER_SECOND
            if missing <= 0:
                return page
            if missing > self._patience:
                raise TooEarly(
                    f"The server's clock says {render_ticks(page.server_ticks)}; this interval may be read "
                    f"from {render_ticks(self._not_before)} on (its end plus "
                    "HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS). Try again then."
                )
            self._patience -= missing
            self.client.clock.sleep(missing)

    def behind(self, query: PageQuery, skip: int, first: Set[Key]) -> Page | None:
        """The rows of a query behind the first `skip`; None where `$skip` is refused, or passed over.

        `first` is what the query without it gave. Raises what `fetch` raises.
        """
        try:
            page = self.fetch(replace(query, skip=skip))
        except ApiRefused as refused:
            if refused.status != 400 or isinstance(refused, FilterRefused):
                raise
            return None
        rows = rows_of(page).keys()
        if not rows or rows != first:
            return page
        # Either `$skip` counts for nothing here, or new rows on top have moved the first page down to it.
        return None if rows_of(self.fetch(query)).keys() == rows else page

    def deliver(self, page: Page, fresh: Iterable[Row], position: int, *, last: bool) -> ScanPage:
        """What a page becomes: its rows that were not delivered before, and how far the scan is with it."""
        rows = list(fresh)
        versions = tuple(row for row in rows if isinstance(row, ReferralVersion))
        waited, self._waited = self.client.seconds_waited - self._waited, self.client.seconds_waited
        return ScanPage(
            versions=versions,
            rejected=tuple(row for row in rows if isinstance(row, RejectedRow)),
            drift=tuple(self._drift.news([(row.referral_id, row.payload) for row in versions])),
            position=position,
            fetched=len(page.items),
            server_ticks=page.server_ticks,
            skew_seconds=page.skew_seconds,
            seconds_waited=waited,
            last=last,
        )
