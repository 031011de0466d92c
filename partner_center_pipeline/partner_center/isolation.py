"""Reads around a row that the server cannot send: what becomes of a query whose page is refused again and again.

The page is asked for with a smaller `$top`, until what is refused is a single row, or a page of this size is sent. A
row that is refused alone is stepped over: a `RejectedRow` (UNREADABLE) stands for it, with what is known of its place.
Why the answer may be taken for a page of the query: windows.md, "A row that cannot be read".

Not here: which page comes next (`keyset_scan`, `unfiltered_scan`), how often a request is repeated (`client`).
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from partner_center_pipeline.partner_center.client import Page
from partner_center_pipeline.partner_center.contract import read_referral
from partner_center_pipeline.partner_center.errors import (
    ApiRefused,
    FilterRefused,
    ForeignHost,
    PartnerCenterError,
    ScanIncomplete,
)
from partner_center_pipeline.partner_center.odata import PageQuery
from partner_center_pipeline.partner_center.retry import repeats
from partner_center_pipeline.referral import Breach, ReferralVersion, RejectedRow, fingerprint, payload_text
from partner_center_pipeline.windows import BEGINNING, render_ticks

MOST_AT_ONE_INSTANT: Final = 8
"""Unreadable rows of one instant that are told apart; where there are more, one entry stands for all that is left."""

MOST_IN_A_SCAN: Final = 25
"""Unreadable rows of one scan; where there are more, it is no single row's problem, and the scan fails."""

TRIES: Final = 4
"""Tries after which an answer that may be a row's fault is no longer repeated; pauses add up to two seconds."""

TRIES_OF_A_PART: Final = 2
"""The same for a part of a page that was refused after TRIES."""

_BEHIND_THE_END: Final = 10**8
"""A `$skip` that leaves out every row of any list."""

_REFUSED: Final = frozenset({400, 413, 422})
"""Statuses, beside 500 and above, that a row or the size of a page may cause."""


def may_be_a_row(error: PartnerCenterError) -> bool:
    """Say whether a smaller page may succeed where this error is the answer, also after retries."""
    if isinstance(error, FilterRefused) or not isinstance(error, ApiRefused):
        return repeats(error)
    return error.status in _REFUSED or (error.status or 0) >= 500


def is_refused_again(error: PartnerCenterError) -> bool:
    """Say whether an error concerns what was asked for, so that the same is refused again and other windows are not."""
    return isinstance(error, ScanIncomplete | ForeignHost) or (
        isinstance(error, ApiRefused) and (error.status is None or may_be_a_row(error))
    )


class Ask(Protocol):
    """Asks for a page; an error that `repeats` is raised after `tries`. Raises what `ReferralsClient.get_page` does."""

    def __call__(self, query: PageQuery, /, *, tries: int) -> Page: ...


class RowsMovedError(Exception):
    """What was read around an unreadable row contradicts itself: rows moved meanwhile, or `$skip` is not taken."""


@dataclass(slots=True)
class Isolation:
    """Isolates refused rows for one scan.

    `ask` asks for a page. `largest` is the most rows that the server sends in one page, where it refused a larger one.
    """

    ask: Ask
    largest: int | None = None
    _found: int = 0

    def server_works(self, query: PageQuery) -> bool:
        """Ask a question like the query that no row spoils: an empty interval, or what is behind the list's end."""
        control = replace(query, top=1, skip=_BEHIND_THE_END)
        if query.has_dates:
            bound = query.updated_from if query.updated_before is None else query.updated_before
            control = replace(query, top=1, updated_from=bound, updated_before=bound)
        return isinstance(self._try(control), Page)

    def page(self, query: PageQuery, refusal: PartnerCenterError) -> Page:
        """Return a page for a query that was refused although `server_works`: an entry stands for an unreadable row.

        Raises ApiRefused where more rows than MOST_IN_A_SCAN are refused, RowsMovedError, and what `ask` raises.
        """
        beginning, count = self._beginning(query)
        if beginning is not None and self._follows(query, count, beginning):
            self.largest = count
            return beginning
        items = [] if beginning is None else beginning.items
        if query.updated_before is not None and not query.descending:
            return self._around_an_instant(query, query.updated_before, items)
        return self._around_an_offset(query, refusal, items, count)

    # Questions

    def _try(self, query: PageQuery, tries: int = TRIES_OF_A_PART) -> Page | PartnerCenterError:
        try:
            return self.ask(query, tries=tries)
        except PartnerCenterError as error:
            if not may_be_a_row(error):
                raise
            return error

    def _beginning(self, query: PageQuery) -> tuple[Page | None, int]:
        """Return the largest page that the query's beginning is sent as, and its `$top`; None and 0 when none is."""
        good, bad, page = 0, query.top, None
        while bad - good > 1:
            middle = (good + bad) // 2
            answer = self._try(replace(query, top=middle))
            if isinstance(answer, Page):
                good, page = middle, answer
            else:
                bad = middle
        return page, good

    def _follows(self, query: PageQuery, count: int, beginning: Page) -> bool:
        """Say whether the row after the beginning is sent when it is asked for alone: then the page was too large."""
        answer = self._try(replace(query, top=1, skip=query.skip + count), TRIES)
        if not isinstance(answer, Page):
            return False
        known = {_identity(item) for item in beginning.items}
        return not answer.items or all(_identity(item) not in known for item in answer.items)

    # Where the API filters on updatedDateTime

    def _around_an_instant(self, query: PageQuery, end: int, before: list[Any]) -> Page:
        """Return the rows `before` the refused one, all of its own instant, and the page that comes after them."""
        instant = self._instant(query, end, before)
        earlier = [item for item in before if (_ticks(item) or BEGINNING) < instant]
        previous = max((ticks for ticks in map(_ticks, earlier) if ticks is not None), default=None)
        alone = replace(query, updated_from=instant, updated_before=instant + 1, skip=0)
        own, is_whole = self._of_instant(alone, instant, previous)
        again, _ = self._of_instant(alone, instant, previous)
        if set(map(_identity, own)) != set(map(_identity, again)):
            raise RowsMovedError("the rows of an instant changed while one of them could not be read")
        self._count(sum(isinstance(item, RejectedRow) for item in own))
        rest = replace(query, updated_from=instant + 1, skip=0)
        if instant + 1 >= end:
            answer: Page | PartnerCenterError = self.ask(replace(rest, updated_from=end, top=1), tries=TRIES)
        else:
            answer = self._try(rest, TRIES)
        after = answer if isinstance(answer, Page) else self.page(rest, answer)
        # The refused row comes right after those `before`. Its instant may have begun above them, on an earlier page.
        above = next((number for number, item in enumerate(own) if isinstance(item, RejectedRow)), len(own))
        places = len(before) - above + len(own) + after.skips if is_whole else None
        return replace(after, items=[*earlier, *own, *after.items], places=places)

    def _instant(self, query: PageQuery, end: int, before: list[Any]) -> int:
        """Return the instant (ticks) of the refused row, which is the next one after those `before`.

        It is found by halving the interval: a page that ends at an earlier instant is sent, and is empty.
        """
        instants = [ticks for ticks in map(_ticks, before) if ticks is not None]
        low = BEGINNING if query.updated_from is None else query.updated_from
        skip = query.skip
        if instants:
            last = max(instants)
            same = replace(query, top=1, updated_from=last, updated_before=last + 1, skip=instants.count(last))
            answer = self._try(same)
            if not isinstance(answer, Page) or answer.items:
                return last
            low, skip = last + 1, 0
        good, bad = low, end
        while bad - good > 1:
            middle = (good + bad) // 2
            answer = self._try(replace(query, top=1, updated_from=low, updated_before=middle, skip=skip))
            if not isinstance(answer, Page):
                bad = middle
            elif answer.items:
                raise RowsMovedError("a row came between two others while one that cannot be read was looked for")
            else:
                good = middle
        return good

    def _of_instant(self, alone: PageQuery, instant: int, previous: int | None) -> tuple[list[Any], bool]:
        """Return the rows of one instant, by `$skip`, with an entry for each of them that is refused.

        The second is False where the last entry stands for all others.
        """
        items: list[Any] = []
        known: set[object] = set()
        offset = unreadable = 0
        top = 1
        while True:
            answer = self._try(replace(alone, top=top, skip=offset), TRIES if top == 1 else TRIES_OF_A_PART)
            if isinstance(answer, Page):
                if not answer.items:
                    return items, True
                identities = set(map(_identity, answer.items))
                if identities <= known:
                    raise RowsMovedError("$skip is not taken, so the rows of one instant cannot be told apart")
                known |= identities
                items += answer.items
                offset += len(answer.items)
                top = alone.top
            elif top > 1:
                top //= 2
            else:
                unreadable += 1
                skippable = offset == 0 or self.server_works(replace(alone, skip=offset))
                is_last = unreadable > MOST_AT_ONE_INSTANT or not skippable
                number: int | str = "all others" if is_last else unreadable
                place = {"updatedDateTime": render_ticks(instant), "number": number}
                items.append(_entry(place, answer, instant, instant, skip=offset, previous=previous))
                if is_last:
                    return items, False
                offset += 1
                top = alone.top

    # Where it does not

    def _around_an_offset(self, query: PageQuery, refusal: PartnerCenterError, before: list[Any], count: int) -> Page:
        """Return the rows `before` the refused one and those after it, by `$skip`; the scan reads them twice anyway."""
        offset = query.skip + count
        skipped = 0
        while True:
            alone = self._try(replace(query, top=1, skip=offset + skipped), TRIES)
            if isinstance(alone, Page):
                break
            refusal = alone
            skipped += 1
            self._count(1)
        if not skipped:
            raise RowsMovedError("a row that was refused is sent by now")
        rest = replace(query, skip=offset + skipped)
        answer = self._try(rest, TRIES)
        after = answer if isinstance(answer, Page) else self.page(rest, answer)
        above = min((ticks for ticks in map(_ticks, before) if ticks is not None), default=None)
        below = max((ticks for ticks in map(_ticks, after.items) if ticks is not None), default=None)
        entries = [
            _entry(
                {"nextRowUpdatedDateTime": None if below is None else render_ticks(below), "number": number},
                refusal,
                below,
                above,
                skip=offset + skipped - number,
                previous=above,
            )
            for number in range(skipped, 0, -1)
        ]
        return replace(after, items=[*before, *entries, *after.items])

    def _count(self, rows: int) -> None:
        self._found += rows
        if self._found > MOST_IN_A_SCAN:
            raise ApiRefused(
                f"Partner Center refuses more than {MOST_IN_A_SCAN} referrals, each asked for alone, while it answers "
                "other questions. That is no single referral's problem. Run `partner-center doctor`; for a support "
                "case, give Microsoft the request ids in `partner-center quarantine list`."
            )


def _entry(
    place: dict[str, Any],
    refusal: PartnerCenterError,
    earliest: int | None,
    latest: int | None,
    skip: int,
    previous: int | None = None,
) -> RejectedRow:
    """Return what stands for an unreadable row: its place identifies it; the rest tells what was seen this time."""
    known = {
        **place,
        "skip": skip,
        "previousRowUpdatedDateTime": None if previous is None else render_ticks(previous),
        "status": refusal.status,
        "requestId": refusal.request_id,
    }
    return RejectedRow(
        reason=Breach.UNREADABLE,
        path="",
        referral_id=None,
        fingerprint=fingerprint(payload_text({"unreadable": place})),
        payload_text=payload_text(known),
        earliest=earliest,
        latest=latest,
    )


def _ticks(item: object) -> int | None:
    row = read_referral(item)
    return row.updated_ticks if isinstance(row, ReferralVersion) else row.earliest


def _identity(item: object) -> tuple[str, str]:
    row = read_referral(item)
    return (row.referral_id, row.version) if isinstance(row, ReferralVersion) else ("", row.fingerprint)
