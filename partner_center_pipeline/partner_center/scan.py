"""Scans an interval of `updatedDateTime` so that the result is proven complete, or says that it is not.

Here belongs the choice between the two ways of scanning, and the argument for both. What does not belong here: which
page comes next (`keyset`, `descending`), how a page is fetched (`client`), what a row must hold (`contract`), where
rows go (the caller).
"""

from collections.abc import Iterator

from partner_center_pipeline.partner_center.client import FilterRefused, ReferralsClient
from partner_center_pipeline.partner_center.errors import ApiRefused
from partner_center_pipeline.partner_center.keyset_scan import KeysetScan
from partner_center_pipeline.partner_center.page_reader import Reader
from partner_center_pipeline.partner_center.unfiltered_scan import DescendingScan
from partner_center_pipeline.referral import ScanPage
from partner_center_pipeline.windows import BEGINNING


def scan(
    client: ReferralsClient,
    *,
    start: int | None,
    end: int,
    resume_from: int | None = None,
    not_before: int,
    patience: float = 30.0,
) -> Iterator[ScanPage]:
    """Every referral whose `updatedDateTime` is in `[start, end)`, page by page. Times are ticks.

    `start` None means no lower bound. `resume_from` is the `position` of an earlier, broken-off scan of the
    same interval. The server's clock (the `Date` header of each very answer) must have reached `not_before`,
    the end plus the safety lag; a page that comes too early is asked again for up to `patience` seconds in
    all.

    Why the result is complete:

    1. An update gives a referral a new `updatedDateTime`, which is the server's now. Once the server's clock
       is past `end` plus the lag, that is past `end`: rows can only leave the interval, none can enter it.

    Where the API filters on `updatedDateTime` (`client.filters`), rows come in ascending order:

    2. Each page is asked anew as `updatedDateTime ge <last seen> and updatedDateTime lt <end>`, ascending.
       Such a page is the beginning of what is left, so everything before its last row's instant is on it or
       was met before; only rows of that very instant may be cut off, and the next query begins at that
       instant. A row that stays in the interval keeps its place and is met; rows met before are told by (id,
       version) and dropped. No offset is used, so a row that leaves shifts nothing past the reader.
    3. When one query's first page does not get past the instant it began at (more rows share an instant than
       fit on a page, or rows without a usable time fill it), the server's next links are walked until one
       does; where a page has none, `$skip` goes on. Both may count offsets, which 2 does not cover. So the walk
       is repeated until two walks in a row meet the same (id, version)s: a row is skipped only when one read
       before it left meanwhile, and then the second walk misses that one.
    4. A page that gets past the instant it began at never ends the scan, however short it is: the next query
       does, with no row past that instant and no next link, and fewer rows than `$top` and than the server sent
       on another page of this scan, so that no limit of its own cut it; else `$skip` shows that nothing is
       behind. Where `$skip` is not taken, fewer rows than `$top` must do.
    5. That a page is the beginning of what is left is the server's promise (`$orderby`). Once in a scan of several
       pages the first one's next link is looked at, too: a server that does not keep the promise shows it there.
       A row out of order or outside the asked interval, a page that was met before, and a link that loops or
       is refused contradict 2 and 3. The page is dropped and the scan starts again from the last proven row,
       at most `keyset.MAX_RESTARTS` times in a row.

    Where it does not, the list is read from the newest referral down to below `start`, by next links, and by
    `$skip` where a page has none; rows outside the interval are passed over:

    6. Both may count offsets. An update takes a referral to the top: what stood above its old place moves one
       down, what stood below stays. So an update, like a new referral, shows the reader a row twice and hides
       none. What hides a row is one that was read and then vanishes (from the account's sight), or an order
       that changes between two pages.
    7. So passes are repeated until two in a row agree: the second met no (id, version) of the interval that the
       first had not, and met every id of the first again, in the interval or above it. What vanished while the
       first pass ran is missing in the second, so it had hidden nothing. A referral that was updated in the
       second behind the reader's back is on top by then, where it is looked for once more: a busy list agrees,
       too. An order that changes at random would have to hide the same row twice.
    8. A row out of order that was not met on the pages just before, and links that loop, bring nothing or are
       refused contradict 6. Nothing below a row is known before the end, so there is no proven row to start
       from: the pass starts anew. There are at most `descending.MAX_PASSES` passes.
    9. Rows are delivered as they come, for they are facts, but `position` stays at the lower bound until the
       `last` page: a scan that breaks off begins again, and stores nothing twice. In memory stay 16 bytes for a
       row of the interval and 8 for one above it, for each of two passes; sorting them takes some 40 more for a
       moment.

    Rows that break the contract have no place in the order; each is delivered once per scan, told by its
    fingerprint.

    Raises ScanIncomplete when the pages keep contradicting each other, TooEarly, and all that
    `ReferralsClient.get_page` raises. The pages delivered before stay right.
    """
    low = BEGINNING if start is None else start
    low = low if resume_from is None else max(low, resume_from)
    reader = Reader(client, not_before, patience)
    if not client.filters:
        try:
            yield from DescendingScan(reader, low, end, not_before - end).pages()
        except ApiRefused as refused:
            if refused.status != 400:
                raise
            client.capability = None  # what was remembered is refused by now: ask anew
        else:
            return
    keyset = KeysetScan(reader, low, end)
    try:
        yield from keyset.pages()
    except FilterRefused:
        yield from DescendingScan(reader, keyset.low, end, not_before - end).pages()
