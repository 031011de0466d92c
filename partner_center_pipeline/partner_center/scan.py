"""The scan of an interval of `updatedDateTime`: its result is proven complete, or reported as incomplete.

Not here: the two ways of scanning (`keyset_scan`, `unfiltered_scan`), fetching a page (`client`), checking a row
(`contract`), storing rows (the caller).
"""

import logging
from collections.abc import Iterator

from partner_center_pipeline.partner_center.capability import Capability
from partner_center_pipeline.partner_center.client import ReferralsClient
from partner_center_pipeline.partner_center.errors import ApiRefused, FilterRefused
from partner_center_pipeline.partner_center.keyset_scan import FilterIgnoredError, KeysetScan
from partner_center_pipeline.partner_center.page_reader import NotKeptError, PageReader
from partner_center_pipeline.partner_center.unfiltered_scan import UnfilteredScan
from partner_center_pipeline.referral import ScanPage
from partner_center_pipeline.windows import BEGINNING

_log = logging.getLogger(__name__)


def scan(
    client: ReferralsClient,
    *,
    start: int | None,
    end: int,
    resume_from: int | None = None,
    not_before: int,
    patience: float = 30.0,
) -> Iterator[ScanPage]:
    """Yield every referral with `updatedDateTime` in `[start, end)`, page by page. Times are 100 ns ticks.

    `start` None means no lower bound. `resume_from` is the `position` of an earlier scan of the same interval that
    broke off. The server's clock (the `Date` header of each answer) must have reached `not_before`, which is the end
    plus the safety lag; a page that comes too early is asked for again for up to `patience` seconds in all. A row that
    breaks the contract has no place in the order; a scan delivers it once, identified by its fingerprint.

    Raises ScanIncomplete when the pages keep contradicting each other, TooEarly, and all that
    `ReferralsClient.get_page` raises. The pages delivered before are right. Why the result is complete: windows.md,
    "Why a scan is complete".
    """
    low = BEGINNING if start is None else start
    low = low if resume_from is None else max(low, resume_from)
    reader = PageReader(client, not_before, patience)
    if not client.filters:
        try:
            yield from UnfilteredScan(reader, low, end, not_before - end).pages()
        except ApiRefused as refused:
            if refused.status != 400:
                raise
            client.capability = None  # the API refuses by now what it accepted before: find out again
        else:
            return
    keyset = KeysetScan(reader, low, end)
    try:
        yield from keyset.pages()
    except (FilterRefused, NotKeptError) as error:
        if isinstance(error, FilterIgnoredError):
            client.capability = Capability(None, client.clock.utc())
        _log.warning("the list is read without a filter from here on: %s", error)
        yield from UnfilteredScan(reader, keyset.low, end, not_before - end).pages()
