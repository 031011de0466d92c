"""The questions for a live Referrals API that Microsoft's documents leave open, or answer in two ways.

A question costs one request of one or a few rows. No row's content leaves this module. Not here: storing what the
pipeline depends on (`capability`; the client finds that out by itself), printing (`cli.doctor`).
"""

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from partner_center_pipeline.partner_center.client import Page, ReferralsClient
from partner_center_pipeline.partner_center.contract import read_referral
from partner_center_pipeline.partner_center.errors import ApiRefused, ForeignHost
from partner_center_pipeline.partner_center.odata import REFERRALS_PATH
from partner_center_pipeline.referral import ReferralVersion
from partner_center_pipeline.windows import render_ticks

MANY: Final = 1000
"""Rows asked for, to see how many a page holds at most; also the upper limit of HUNTER_PARTNER_CENTER_PAGE_SIZE."""

SKEW_SECONDS: Final = 30.0
"""A clock with a larger difference is reported; the safety lag is two minutes by default."""

_NEWEST: Final = {"$orderby": "updatedDateTime desc"}


class Verdict(StrEnum):
    """How an answer compares with the documentation."""

    DOCUMENTED = "as documented"
    DIFFERS = "differs"
    REFUSED = "refused"
    OPEN = "cannot be told"
    """Too few referrals, or an answer that does not show it."""


@dataclass(frozen=True, slots=True)
class Probed:
    """The result of one question: what was found, and what the pipeline does about it."""

    subject: str
    verdict: Verdict
    found: str
    consequence: str


def probe(client: ReferralsClient) -> Iterator[Probed]:
    """Ask all questions and yield the results; a refusal of one is a result, too.

    Raises what `ReferralsClient.get_page` raises.
    """
    try:
        first = client.ask({**_NEWEST, "$top": "2"})
    except ApiRefused:
        first = client.ask({"$top": "2"})
    instant = _instants(first)[0] if _instants(first) else first.server_ticks
    yield from _dates(client, instant)
    yield _ask("order by updatedDateTime asc", lambda: _order(client, "asc"), "only ranges need it; see the filter")
    yield _ask("order by updatedDateTime desc", lambda: _order(client, "desc"), _NO_ORDER)
    one = client.ask({"$top": "1"})
    yield _top(one, len(first.items))
    many = client.ask({"$top": str(MANY)})
    yield _page_size(many)
    yield _next_link(client, one if one.next_link else many)
    yield _count(one, len(first.items))
    yield _ask("$count", lambda: _count_option(client), "nothing is built on it")
    yield _ask("$skip", lambda: _skip(client, one), "a page without a next link is taken for the last one")
    yield _ask("$select", lambda: _select(client), "whole referrals are read anyway")
    yield _clock(first)
    yield _mfa(client.token())


_NO_ORDER: Final = "without a filter on updatedDateTime nothing can be proven complete; tell Microsoft"


def _ask(subject: str, question: Callable[[], Probed], consequence: str) -> Probed:
    try:
        return question()
    except ApiRefused as refused:
        return Probed(subject, Verdict.REFUSED, f"HTTP {refused.status}", consequence)


def _dates(client: ReferralsClient, instant: int) -> Iterator[Probed]:
    taken: dict[str, Page] = {}
    for form, mark in (("bare", ""), ("quoted", "'")):
        try:
            condition = f"updatedDateTime lt {mark}{render_ticks(instant)}{mark}"
            taken[form] = client.ask({"$filter": condition, "$top": "1"})
        except ApiRefused as refused:
            if refused.status != 400:
                raise
    subject = "date in a filter"
    if not taken:
        yield Probed(subject, Verdict.REFUSED, "neither bare nor quoted", "see the filter")
        yield Probed(
            "filter on updatedDateTime",
            Verdict.REFUSED,
            "HTTP 400 with both forms of a date",
            "reads the list from the newest referral down, until two passes agree; slower, and as complete",
        )
        return
    verdict = Verdict.DOCUMENTED if "bare" in taken else Verdict.DIFFERS
    yield Probed(subject, verdict, " and ".join(taken), f"writes it {next(iter(taken))}; found once, kept 30 days")
    inside = [ticks < instant for page in taken.values() for ticks in _instants(page)]
    if not inside:
        yield Probed("filter on updatedDateTime", Verdict.OPEN, "taken; no referral is older", "filters each window")
    elif all(inside):
        yield Probed("filter on updatedDateTime", Verdict.DOCUMENTED, "taken and kept to", "filters each window")
    else:
        yield Probed(
            "filter on updatedDateTime",
            Verdict.DIFFERS,
            "taken, but rows from outside come",
            "windows end as incomplete, never short; tell Microsoft",
        )


def _order(client: ReferralsClient, direction: str) -> Probed:
    subject = f"order by updatedDateTime {direction}"
    ticks = _instants(client.ask({"$orderby": f"updatedDateTime {direction}", "$top": "20"}))
    if len(set(ticks)) < 2:
        return Probed(subject, Verdict.OPEN, "taken; too few referrals", "checks the order of every page")
    if ticks == sorted(ticks, reverse=direction == "desc"):
        return Probed(subject, Verdict.DOCUMENTED, "taken and kept to", "checks the order of every page")
    return Probed(subject, Verdict.DIFFERS, "taken, but rows are out of order", _NO_ORDER)


def _top(one: Page, available: int) -> Probed:
    if len(one.items) > 1:
        return Probed("$top", Verdict.DIFFERS, f"{len(one.items)} rows for $top=1", "takes pages as they come")
    if available < 2:
        return Probed("$top", Verdict.OPEN, "too few referrals", "asks for HUNTER_PARTNER_CENTER_PAGE_SIZE rows a page")
    if one.next_link is None:
        return Probed("$top", Verdict.DIFFERS, "ends the query, no link follows", "asks on from the last row's instant")
    return Probed("$top", Verdict.DOCUMENTED, "is the size of a page", "asks for HUNTER_PARTNER_CENTER_PAGE_SIZE rows")


def _page_size(many: Page) -> Probed:
    count, more = len(many.items), many.next_link is not None
    if count < MANY and not more:
        return Probed("page size", Verdict.OPEN, f"all {count} referrals fit", "follows what comes, whatever the size")
    verdict = Verdict.DOCUMENTED if count == MANY else Verdict.DIFFERS
    return Probed("page size", verdict, f"{count} rows for $top={MANY}", "follows what comes, whatever the size")


def _next_link(client: ReferralsClient, page: Page) -> Probed:
    if page.next_link is None:
        return Probed("next link", Verdict.OPEN, "none came", "goes on by $skip where a page has none")
    link = urlsplit(page.next_link)
    form = f"{link.scheme or 'no scheme'}, {link.path or 'no path'}"
    try:
        client.get_page(page.next_link)
    except ForeignHost:
        return Probed("next link", Verdict.DIFFERS, "leads to another host", "is not followed, and gets no token")
    except ApiRefused as refused:
        return Probed("next link", Verdict.REFUSED, f"{form}: HTTP {refused.status}", "starts again, then incomplete")
    verdict = Verdict.DOCUMENTED if (link.scheme, link.path) == ("http", "/v1.0/referrals") else Verdict.DIFFERS
    return Probed("next link", verdict, form, f"asks for https and {REFERRALS_PATH}, with the link's own query")


def _count(one: Page, available: int) -> Probed:
    subject, consequence = "@odata.count", "nothing is built on it"
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
    return Probed("$count", verdict, found, "nothing is built on it")


def _skip(client: ReferralsClient, one: Page) -> Probed:
    consequence = "goes on by it where a page has no next link"
    second = client.ask({"$skip": "1", "$top": "1"})
    if not one.items:
        return Probed("$skip", Verdict.OPEN, "taken; no referral", consequence)
    if _ids(second)[:1] == _ids(one)[:1]:
        return Probed("$skip", Verdict.DIFFERS, "passed over", "a page without a next link is taken for the last one")
    return Probed("$skip", Verdict.DOCUMENTED, "taken", consequence)


def _select(client: ReferralsClient) -> Probed:
    page = client.ask({"$select": "id,updatedDateTime", "$top": "1"})
    names = {name for item in page.items if isinstance(item, dict) for name in item}
    if not names:
        return Probed("$select", Verdict.OPEN, "taken; no referral", "whole referrals are read")
    if names <= {"id", "updatedDateTime"}:
        return Probed("$select", Verdict.DOCUMENTED, "taken", "whole referrals are read")
    return Probed("$select", Verdict.DIFFERS, f"passed over: {len(names)} fields come", "whole referrals are read")


def _clock(page: Page) -> Probed:
    seconds = page.skew_seconds
    verdict = Verdict.DOCUMENTED if abs(seconds) <= SKEW_SECONDS else Verdict.DIFFERS
    found = f"{seconds:+.0f} s from this machine's, {render_ticks(page.server_ticks)}"
    return Probed("server's clock", verdict, found, "reads a window once the server's clock is past it and the lag")


def _mfa(token: str) -> Probed:
    consequence = "calls without it are refused since 2026-04-01 (900421): turn MFA on, then run `partner-center login`"
    has_mfa = mfa_in(token)
    if has_mfa is None:
        return Probed("MFA claim", Verdict.OPEN, "the token cannot be read", consequence)
    if has_mfa:
        return Probed("MFA claim", Verdict.DOCUMENTED, "there", "nothing to do")
    return Probed("MFA claim", Verdict.DIFFERS, "missing", consequence)


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


def _instants(page: Page) -> list[int]:
    rows = map(read_referral, page.items)
    return [row.updated_ticks for row in rows if isinstance(row, ReferralVersion)]


def _ids(page: Page) -> list[Any]:
    return [item.get("id") for item in page.items if isinstance(item, dict)]
