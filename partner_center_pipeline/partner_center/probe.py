"""The questions for a live Referrals API that Microsoft's documents leave open, or answer in two ways.

A question costs one request of one or a few rows, all together at most 25. No row's content leaves this module. Not
here: how answers are judged together (`probed`), storing what the pipeline depends on (`capability`; the client finds
that out by itself), printing (`cli.doctor`).
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from partner_center_pipeline.partner_center.client import Page, ReferralsClient
from partner_center_pipeline.partner_center.contract import read_referral
from partner_center_pipeline.partner_center.errors import ApiRefused, ForeignHost
from partner_center_pipeline.partner_center.odata import REFERRALS_PATH, DateLiteral
from partner_center_pipeline.partner_center.page_reader import SLACK
from partner_center_pipeline.partner_center.probed import Probed, Question, Verdict, argument
from partner_center_pipeline.referral import ReferralVersion
from partner_center_pipeline.windows import BEGINNING, TICKS_PER_SECOND, render_ticks

MANY: Final = 1000
"""Rows asked for, to see how many a page holds at most; also the upper limit of HUNTER_PARTNER_CENTER_PAGE_SIZE."""

SOME: Final = 20
"""Rows asked for, to see an order and what lies behind a page."""

MOST: Final = 100
"""Rows asked for in an interval of a few seconds, which hardly ever holds as many."""

SKEW_SECONDS: Final = 30.0
"""A clock with a larger difference is reported; the safety lag is two minutes by default."""

_NEWEST: Final = {"$orderby": "updatedDateTime desc"}
_OLDEST: Final = {"$orderby": "updatedDateTime asc"}

_UNFILTERED: Final = "reads the list from the newest referral down, until two passes agree; slower, and as complete"
_IN_ORDER: Final = "checks the order of every page"


def probe(client: ReferralsClient) -> Iterator[Probed]:
    """Ask all questions and yield the results, at last which argument of windows.md holds.

    A refusal of a question is a result, too. Raises what `ReferralsClient.get_page` raises.
    """
    verdicts: dict[Question, Verdict] = {}
    for answer in _answers(client):
        verdicts[answer.subject] = answer.verdict
        yield answer
    yield argument(verdicts)


def _answers(client: ReferralsClient) -> Iterator[Probed]:
    lists = _Lists.read(client)
    yield from _dates(client, lists)
    oldest = None if isinstance(lists.oldest, ApiRefused) else _follow(client, lists.oldest, lists.newest, links=2)
    newest = None if isinstance(lists.newest, ApiRefused) else _follow(client, lists.newest, lists.oldest, links=1)
    yield _order(Question.ASCENDING, lists.oldest, oldest, newest)
    yield _order(Question.DESCENDING, lists.newest, newest, oldest)
    one = client.ask({**lists.order, "$top": "1"})
    yield _top(one, len(lists.first.items))
    yield _page_size(lists.many)
    walks = [walk for walk in (oldest, newest) if walk is not None and walk.verdict is not Verdict.OPEN]
    walk = next((walk for walk in walks if walk.verdict is not Verdict.DOCUMENTED), walks[0] if walks else None)
    walk = walk or _follow(client, lists.many, lists.opposite, links=1)
    yield _link(walk)
    yield Probed(Question.FOLLOWED, walk.verdict, walk.found, walk.consequence)
    yield _ask(Question.SKIP, lambda: _skip(client, lists), _NO_SKIP)
    yield _end(client, lists)
    yield _count(one, len(lists.first.items))
    yield _ask(Question.COUNT_OPTION, lambda: _count_option(client), "nothing is built on it")
    yield _ask(Question.SELECT, lambda: _select(client), "whole referrals are read anyway")
    yield _clock(lists.first)
    yield _mfa(client.token())


def _ask(subject: Question, question: Callable[[], Probed], consequence: str) -> Probed:
    try:
        return question()
    except ApiRefused as refused:
        return Probed(subject, Verdict.REFUSED, f"HTTP {refused.status}", consequence)


@dataclass(frozen=True, slots=True)
class _Lists:
    """The beginning of the list from either end, or why it is refused.

    `first` is the beginning in the order `order` (query options), which is one that is taken, and `many` the same with
    as many rows as the server sends at once.
    """

    newest: Page | ApiRefused
    oldest: Page | ApiRefused
    order: Mapping[str, str]
    first: Page
    many: Page

    @classmethod
    def read(cls, client: ReferralsClient) -> "_Lists":
        newest, oldest = _page_or_refusal(client, _NEWEST), _page_or_refusal(client, _OLDEST)
        order: Mapping[str, str] = {}
        if isinstance(oldest, Page):
            order, first = _OLDEST, oldest
        elif isinstance(newest, Page):
            order, first = _NEWEST, newest
        else:
            first = client.ask({"$top": str(SOME)})
        return cls(newest, oldest, order, first, client.ask({**order, "$top": str(MANY)}))

    @property
    def opposite(self) -> Page | ApiRefused:
        """The list from the end at which `first` does not begin."""
        return self.newest if self.order == _OLDEST else self.oldest

    @property
    def recent(self) -> Page:
        """A page with the newest referrals, where the server sends such a page."""
        return self.newest if isinstance(self.newest, Page) else self.first


def _page_or_refusal(client: ReferralsClient, options: Mapping[str, str]) -> Page | ApiRefused:
    try:
        return client.ask({**options, "$top": str(SOME)})
    except ApiRefused as refused:
        return refused


# The filter


def _dates(client: ReferralsClient, lists: _Lists) -> Iterator[Probed]:
    """Say how a date is written in a filter, whether the filter is kept, and how exactly it compares."""
    recent = max((row.updated_ticks for row in _dated(lists.recent)), default=lists.first.server_ticks)
    before = _second(recent) - 2 * TICKS_PER_SECOND
    taken: dict[DateLiteral, Page] = {}
    for literal in DateLiteral:
        try:
            taken[literal] = client.ask({"$filter": _condition("lt", before, literal), "$top": "1"})
        except ApiRefused as refused:
            if refused.status != 400:
                raise
    if not taken:
        yield Probed(Question.DATE, Verdict.REFUSED, "neither bare nor quoted", "see the filter")
        yield Probed(Question.FILTER, Verdict.REFUSED, "HTTP 400 with both forms of a date", _UNFILTERED)
        yield Probed(Question.PRECISION, Verdict.OPEN, "there is no filter", "see the filter")
        return
    literal = next(iter(taken))
    verdict = Verdict.DOCUMENTED if DateLiteral.BARE in taken else Verdict.DIFFERS
    yield Probed(Question.DATE, verdict, " and ".join(taken), f"writes it {literal}; found once, kept 30 days")
    filtered = _Filtered(client, lists, literal)
    older = [ticks for page in taken.values() for ticks in _instants(page)]
    kept = _ask(Question.FILTER, lambda: filtered.kept(older, before), _UNFILTERED)
    yield kept
    if kept.verdict in (Verdict.DOCUMENTED, Verdict.DIFFERS):
        yield _ask(Question.PRECISION, lambda: _precision(filtered), "see the filter")
    else:
        yield Probed(Question.PRECISION, Verdict.OPEN, "see the filter", "depends on no part of a second")


class _Filtered:
    """Questions with a filter, about one referral: the `sample`, a recent one, with a fraction of a second if any."""

    def __init__(self, client: ReferralsClient, lists: _Lists, literal: DateLiteral) -> None:
        self._client = client
        self._lists = lists
        self._literal = literal
        self.sample = _sample(lists.recent)

    def kept(self, older: Iterable[int], before: int) -> Probed:
        """Say whether the filter keeps to both bounds and brings what is between. `older` came for `lt before`."""
        subject, is_above_kept = Question.FILTER, all(ticks < before + SLACK for ticks in older)
        if self.sample is None:
            return Probed(subject, Verdict.OPEN, "taken; too few referrals", "filters each window")
        second = _second(self.sample.updated_ticks)
        page = self._page(second - SLACK, second + 2 * SLACK)
        instants = _instants(page)
        if any(ticks < second - 2 * SLACK for ticks in instants):
            both = "" if is_above_kept else " and from after the upper one"
            return Probed(subject, Verdict.FAILS, f"rows from before the lower bound come{both}", _UNFILTERED)
        is_above_kept = is_above_kept and all(ticks < second + 3 * SLACK for ticks in instants)
        is_on = self._is_on(page)
        if is_on is False:
            if not self.is_unchanged():
                return Probed(subject, Verdict.OPEN, "the referral asked for changed meanwhile", "filters each window")
            return Probed(subject, Verdict.FAILS, "leaves out a row of the interval", _UNFILTERED)
        if not is_above_kept:
            return Probed(
                subject, Verdict.DIFFERS, "rows from after the upper bound come", "drops rows that it did not ask for"
            )
        if is_on is None:
            return Probed(subject, Verdict.OPEN, "taken; too many referrals of the same seconds", "filters each window")
        if not any(ticks < second - 2 * SLACK for ticks in (*older, *_instants(self._lists.recent))):
            return Probed(subject, Verdict.OPEN, "taken; too few referrals", "filters each window")
        return Probed(subject, Verdict.DOCUMENTED, "taken, both bounds kept", "filters each window")

    def brings(self, low: int, high: int) -> bool | None:
        """Say whether the sample comes for `[low, high)` (ticks); None where the page is too short to show it."""
        return self._is_on(self._page(low, high))

    def is_unchanged(self) -> bool:
        """Say whether the list without a filter still shows the sample with its instant."""
        options = _NEWEST if isinstance(self._lists.newest, Page) else self._lists.order
        rows = _rows(self._client.ask({**options, "$top": str(SOME)}))
        return self.sample is not None and any(
            (row.referral_id, row.updated_ticks) == (self.sample.referral_id, self.sample.updated_ticks) for row in rows
        )

    def _page(self, low: int, high: int) -> Page:
        condition = f"{_condition('ge', low, self._literal)} and {_condition('lt', high, self._literal)}"
        return self._client.ask({"$filter": condition, **self._lists.order, "$top": str(MOST)})

    def _is_on(self, page: Page) -> bool | None:
        if self.sample is not None and self.sample.referral_id in _ids(page):
            return True
        is_cut = page.next_link is not None or len(page.items) >= min(MOST, len(self._lists.many.items))
        return None if is_cut else False


def _sample(page: Page) -> ReferralVersion | None:
    """Return the row to ask about: with a fraction of a second if any, then one that shows cuts, then the newest."""
    return max(
        _dated(page),
        key=lambda row: (
            row.updated_ticks % TICKS_PER_SECOND != 0,
            _shows_cuts(row.updated_ticks),
            row.updated_ticks,
        ),
        default=None,
    )


def _dated(page: Page) -> list[ReferralVersion]:
    """Return the rows whose instant can be right: after .NET's lowest one, and not in the future."""
    first, last = BEGINNING + 60 * TICKS_PER_SECOND, page.server_ticks + 3600 * TICKS_PER_SECOND
    return [row for row in _rows(page) if first <= row.updated_ticks <= last]


def _shows_cuts(ticks: int) -> bool:
    """Say whether an instant and the one a tick later are equal for every server that rounds or cuts decimal digits."""
    return ticks % 10 not in (4, 9)


def _precision(filtered: _Filtered) -> Probed:
    """Say whether bounds count to the tick. Text of a whole second sorts behind that of its parts: '.' before 'Z'."""
    subject, consequence = Question.PRECISION, "begins a second earlier and ends a second later; nothing depends on it"
    if filtered.sample is None:
        return Probed(subject, Verdict.OPEN, "too few referrals", consequence)
    ticks = filtered.sample.updated_ticks
    second = _second(ticks)
    low, high = second - 2 * TICKS_PER_SECOND, second + 3 * TICKS_PER_SECOND
    to_the_tick = [
        _is_as(filtered.brings(ticks, high), True),
        _is_as(filtered.brings(ticks + 1, high), False),
        _is_as(filtered.brings(low, ticks), False),
        _is_as(filtered.brings(low, ticks + 1), True),
    ]
    to_the_second: list[bool | None] = []
    if ticks != second:
        to_the_second = [_is_as(filtered.brings(second, high), True), _is_as(filtered.brings(low, second), False)]
    answers = [*to_the_tick, *to_the_second]
    if False in answers:
        if not filtered.is_unchanged():
            return Probed(subject, Verdict.OPEN, "the referral asked for changed meanwhile", consequence)
        if False in to_the_second:
            found = "compares as text"
        else:
            found = "rounds or cuts" if True in to_the_second else "rounds, cuts or compares as text"
        return Probed(subject, Verdict.DIFFERS, found, consequence)
    if None in answers:
        return Probed(subject, Verdict.OPEN, "too many referrals of the same seconds", consequence)
    if not _shows_cuts(ticks):
        return Probed(subject, Verdict.OPEN, "exact, as far as the referral asked for shows it", consequence)
    return Probed(subject, Verdict.DOCUMENTED, "exact to 100 ns", consequence)


def _is_as(found: bool | None, expected: bool) -> bool | None:
    return None if found is None else found is expected


def _condition(operator: str, ticks: int, literal: DateLiteral) -> str:
    mark = "'" if literal is DateLiteral.QUOTED else ""
    return f"updatedDateTime {operator} {mark}{render_ticks(ticks)}{mark}"


def _second(ticks: int) -> int:
    """Return the whole second (ticks) that holds an instant."""
    return ticks // TICKS_PER_SECOND * TICKS_PER_SECOND


# Order and pages


@dataclass(frozen=True, slots=True)
class _Walk:
    """A page, those behind its next links, and where the links lead."""

    pages: list[Page]
    verdict: Verdict
    found: str
    consequence: str


def _follow(client: ReferralsClient, page: Page, opposite: Page | ApiRefused, *, links: int) -> _Walk:
    """Follow up to `links` next links. `opposite` begins at the other end of the list: it shows what must follow."""
    pages, seen = [page], set(_ids(page))
    if page.next_link is None:
        return _Walk(pages, Verdict.OPEN, "none came", "goes on by $skip where a page has none")
    while (link := pages[-1].next_link) is not None and len(pages) <= links:
        try:
            following = client.get_page(link)
        except ForeignHost:
            return _Walk(pages, Verdict.FAILS, "leads to another host", "is not followed, and gets no token")
        except ApiRefused as refused:
            return _Walk(pages, Verdict.REFUSED, f"HTTP {refused.status}", _BY_SKIP)
        if not following.items and following.next_link is None:
            if isinstance(opposite, Page) and set(_ids(opposite)) <= seen:
                return _Walk(pages, Verdict.OPEN, "leads to the list's end", "asks a second question at each end")
            return _Walk(pages, Verdict.DIFFERS, "leads to an empty list", _BY_SKIP)
        if following.items and set(_ids(following)) <= seen:
            return _Walk(pages, Verdict.FAILS, "leads back", "starts again, then incomplete, where a link is needed")
        seen.update(_ids(following))
        pages.append(following)
    if not any(following.items for following in pages[1:]):
        return _Walk(pages, Verdict.DIFFERS, "leads to empty pages", _BY_SKIP)
    return _Walk(pages, Verdict.DOCUMENTED, "leads on", "follows it where it needs one, and checks where it leads")


_BY_SKIP: Final = "goes on by $skip; where that is not taken, incomplete"
_NO_SKIP: Final = "asks from the last row's instant, and takes no full page for the end"


def _order(subject: Question, begin: Page | ApiRefused, walk: _Walk | None, opposite: _Walk | None) -> Probed:
    """Say whether an order is kept, within a page, from page to page, and over the whole list."""
    is_descending = subject is Question.DESCENDING
    if walk is None:
        consequence = _NO_NEWEST if is_descending else "cannot sync, as every query of a window asks for it"
        status = begin.status if isinstance(begin, ApiRefused) else None
        return Probed(subject, Verdict.REFUSED, f"HTTP {status}", consequence)
    consequence = _NO_NEWEST if is_descending else _UNFILTERED
    if len({ticks for page in walk.pages for ticks in _instants(page)}) < 2:
        return Probed(subject, Verdict.OPEN, "taken; too few referrals", _IN_ORDER)
    if not _is_in_order(walk, SLACK, descending=is_descending):
        return Probed(subject, Verdict.DIFFERS, "taken, but rows are out of order", consequence)
    if opposite is not None and _is_in_order(opposite, 0, descending=not is_descending):
        first, other = walk.pages[0], opposite.pages[0]
        if first.next_link is not None and set(_ids(first)) == set(_ids(other)):
            return Probed(subject, Verdict.DIFFERS, "taken, but kept within a page only", consequence)
    return Probed(subject, Verdict.DOCUMENTED, "taken and kept to", _IN_ORDER)


def _is_in_order(walk: _Walk, slack: int, *, descending: bool) -> bool:
    """Say whether no row comes more than `slack` (ticks) out of order: for a server, near instants may be equal."""
    latest: int | None = None
    for ticks in (ticks for page in walk.pages for ticks in _instants(page)):
        place = -ticks if descending else ticks
        if latest is not None and place < latest - slack:
            return False
        latest = place if latest is None else max(latest, place)
    return True


_NO_NEWEST: Final = "confirms no end by it, and can read nothing without a filter; tell Microsoft"


def _top(one: Page, available: int) -> Probed:
    if len(one.items) > 1:
        return Probed(Question.TOP, Verdict.DIFFERS, f"{len(one.items)} rows for $top=1", "takes pages as they come")
    consequence = "asks for HUNTER_PARTNER_CENTER_PAGE_SIZE rows"
    if available < 2:
        return Probed(Question.TOP, Verdict.OPEN, "too few referrals", consequence)
    if one.next_link is None:
        return Probed(
            Question.TOP, Verdict.DIFFERS, "ends the query, no link follows", "asks on from the last row's instant"
        )
    return Probed(Question.TOP, Verdict.DOCUMENTED, "is the size of a page", consequence)


def _page_size(many: Page) -> Probed:
    count, consequence = len(many.items), "follows what comes, whatever the size"
    if count < MANY and many.next_link is None:
        return Probed(Question.PAGE_SIZE, Verdict.OPEN, f"{count} rows, and no next link", consequence)
    verdict = Verdict.DOCUMENTED if count == MANY else Verdict.DIFFERS
    return Probed(Question.PAGE_SIZE, verdict, f"{count} rows for $top={MANY}", consequence)


def _link(walk: _Walk) -> Probed:
    """Say how a next link is written."""
    text = walk.pages[0].next_link
    if text is None:
        return Probed(Question.LINK, Verdict.OPEN, "none came", "goes on by $skip where a page has none")
    link = urlsplit(text)
    if walk.found == "leads to another host":
        return Probed(Question.LINK, Verdict.DIFFERS, walk.found, walk.consequence)
    verdict = Verdict.DOCUMENTED if (link.scheme, link.path) == ("http", "/v1.0/referrals") else Verdict.DIFFERS
    found = f"{link.scheme or 'no scheme'}, {link.path or 'no path'}"
    return Probed(Question.LINK, verdict, found, f"asks for https and {REFERRALS_PATH}, with the link's own query")


def _skip(client: ReferralsClient, lists: _Lists) -> Probed:
    subject, consequence = Question.SKIP, "goes on by it where a page has no next link"
    rows = _ids(lists.first)
    second = _ids(client.ask({**lists.order, "$skip": "1", "$top": "1"}))[:1]
    if len(rows) < 2:
        return Probed(subject, Verdict.OPEN, "taken; too few referrals", consequence)
    if second == rows[1:2]:
        return Probed(subject, Verdict.DOCUMENTED, "taken", consequence)
    if second == rows[:1]:
        return Probed(subject, Verdict.DIFFERS, "passed over", _NO_SKIP)
    found = "taken, but brings another row than the second one" if second else "taken, but brings nothing"
    return Probed(subject, Verdict.DIFFERS, found, _NO_SKIP)


def _end(client: ReferralsClient, lists: _Lists) -> Probed:
    """Say whether a page without a next link is the end of the list, as `$skip` and the other end show it."""
    many, subject = lists.many, Question.END
    count, seen = len(many.items), set(_ids(many))
    if many.next_link is not None:
        return Probed(subject, Verdict.DOCUMENTED, "a page before the end has a link", "follows it where it needs one")
    try:
        behind = set(_ids(client.ask({**lists.order, "$top": str(SOME), "$skip": str(count)}))) - seen
    except ApiRefused:
        behind = set()
    if behind:
        return Probed(subject, Verdict.DIFFERS, f"{count} rows, and $skip shows more", "goes on by $skip")
    opposite = lists.opposite
    if isinstance(opposite, Page) and not set(_ids(opposite)) <= seen:
        return Probed(
            subject,
            Verdict.FAILS,
            f"{count} rows, the other end of the list shows more, and $skip does not",
            "incomplete where more referrals share about a second than a page holds",
        )
    return Probed(subject, Verdict.OPEN, f"all {count} referrals fit on a page", "asks a second question at each end")


# What nothing is built on, and what is no list


def _count(one: Page, available: int) -> Probed:
    subject, consequence = Question.COUNT, "nothing is built on it"
    if one.count is None:
        return Probed(subject, Verdict.DIFFERS, "absent", consequence)
    if available < 2:
        return Probed(subject, Verdict.OPEN, f"{one.count}; too few referrals", consequence)
    if one.count == len(one.items):
        return Probed(subject, Verdict.DOCUMENTED, "rows in the page", consequence)
    return Probed(subject, Verdict.DIFFERS, f"{one.count}, more than the page has", consequence)


def _count_option(client: ReferralsClient) -> Probed:
    page = client.ask({"$count": "true", "$top": "1"})
    found = "taken, no count comes" if page.count is None else f"taken, {page.count}"
    verdict = Verdict.DIFFERS if page.count is None else Verdict.DOCUMENTED
    return Probed(Question.COUNT_OPTION, verdict, found, "nothing is built on it")


def _select(client: ReferralsClient) -> Probed:
    page = client.ask({"$select": "id,updatedDateTime", "$top": "1"})
    names = {name for item in page.items if isinstance(item, dict) for name in item}
    if not names:
        return Probed(Question.SELECT, Verdict.OPEN, "taken; no referral", "whole referrals are read")
    if names <= {"id", "updatedDateTime"}:
        return Probed(Question.SELECT, Verdict.DOCUMENTED, "taken", "whole referrals are read")
    return Probed(
        Question.SELECT, Verdict.DIFFERS, f"passed over: {len(names)} fields come", "whole referrals are read"
    )


def _clock(page: Page) -> Probed:
    seconds = page.skew_seconds
    verdict = Verdict.DOCUMENTED if abs(seconds) <= SKEW_SECONDS else Verdict.DIFFERS
    found = f"{seconds:+.0f} s from this machine's, {render_ticks(page.server_ticks)}"
    return Probed(Question.CLOCK, verdict, found, "reads a window once the server's clock is past it and the lag")


def _mfa(token: str) -> Probed:
    consequence = "calls without it are refused since 2026-04-01 (900421): turn MFA on, then run `partner-center login`"
    has_mfa = mfa_in(token)
    if has_mfa is None:
        return Probed(Question.MFA, Verdict.OPEN, "the token cannot be read", consequence)
    if has_mfa:
        return Probed(Question.MFA, Verdict.DOCUMENTED, "there", "nothing to do")
    return Probed(Question.MFA, Verdict.DIFFERS, "missing", consequence)


def mfa_in(token: str) -> bool | None:
    """Say whether an access token's `amr` claim names MFA; None when the token is not readable.

    This is only a hint for a person: a token is meant for the API, and its form may change.
    """
    try:
        body = token.split(".")[1]
        claims: Any = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return None
    methods = claims.get("amr") if isinstance(claims, dict) else None
    return "mfa" in methods if isinstance(methods, list) else None


def _rows(page: Page) -> list[ReferralVersion]:
    return [row for row in map(read_referral, page.items) if isinstance(row, ReferralVersion)]


def _instants(page: Page) -> list[int]:
    return [row.updated_ticks for row in _rows(page)]


def _ids(page: Page) -> list[str]:
    """Return the id of each row, or a hash of a row that breaks the contract."""
    rows = map(read_referral, page.items)
    return [row.referral_id if isinstance(row, ReferralVersion) else row.fingerprint for row in rows]
