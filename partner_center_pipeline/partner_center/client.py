"""Asks the Referrals API for one page, with retries until a deadline: headers, statuses, and the error for each.

Not here: which page comes next (`scan`), what is in a row (`contract`), the text of queries and links (`odata`).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx

from partner_center_pipeline.partner_center.capability import Capability
from partner_center_pipeline.partner_center.clock import Clock, SystemClock
from partner_center_pipeline.partner_center.contract import decode
from partner_center_pipeline.partner_center.errors import (
    AccessDenied,
    ApiRefused,
    FilterRefused,
    ForeignHost,
    PartnerCenterError,
    SignInRequired,
    Unreachable,
)
from partner_center_pipeline.partner_center.http import (
    AT_ONCE_SECONDS,
    PARTNER_CENTER,
    answered_within,
    raise_for_transient_status,
    send_mapping_errors,
)
from partner_center_pipeline.partner_center.odata import (
    REFERRALS_PATH,
    ApiProblem,
    DateLiteral,
    PageQuery,
    http_date,
    next_url,
    query_text,
    read_problem,
)
from partner_center_pipeline.partner_center.retry import retrying
from partner_center_pipeline.telling import note, shown_seconds
from partner_center_pipeline.windows import ticks_of

CONNECT_SECONDS: Final = 45.0
"""How long a client that never had an answer tries to connect, whatever its deadline. With the sign-in's own pauses and
the time that a connection may take, a run in front of a dead network ends within 90 s."""

DEADLINE_SECONDS: Final = 300.0
"""How long a client retries by default."""

MISSING_MFA: Final = "900421"
"""The code for a token without an MFA claim, required since 2026-04-01 (partner_center_api.md, section 1.3)."""

_log = logging.getLogger(__name__)
_Read = TypeVar("_Read")


class TokenSource(Protocol):
    """Where access tokens come from; `SignIn.token` is one."""

    def __call__(self, *, renew: bool = False) -> str:
        """Return a usable access token, a new one when `renew`. Raises SignInRequired."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the list operation.

    `items` are the decoded rows, not yet checked by the contract. `next_link` is the server's own text. `server_ticks`
    is the answer's `Date` header (whole seconds, in ticks), `skew_seconds` how far the server's clock is ahead of this
    machine's (exact to a second). `request_id` is Microsoft's id of the call. `count` is `@odata.count`: it may count
    the page or all matches, so nothing depends on it (section 2, quirk 3). `places` is how many places of the list it
    takes, where that is not the number of items: read around a row, it has rows that came before, too (`isolation`).
    """

    items: list[Any]
    next_link: str | None
    server_ticks: int
    skew_seconds: float
    request_id: str | None
    count: int | None = None
    places: int | None = None

    @property
    def skips(self) -> int:
        """The rows that `$skip` has to leave out for this page."""
        return len(self.items) if self.places is None else self.places


class ReferralsClient:
    """The Referrals API at `base_url` (`https://host[:port]`).

    `token` is where access tokens come from. `page_size` is the number of rows that a scan asks for per page. After
    `deadline_seconds` from now, the client begins no pause and no retry, and waits no longer for an answer; a call that
    succeeds at once is still made. Before the first answer it gives up sooner where no connection can be made.
    `capability` is what this API was found to accept before. Where it is None, too old, or refused by now, the first
    query with dates finds it out, and `capability` then holds what is to be stored. `seconds_waited` is the sum of the
    pauses between tries so far. `server_ticks` and `skew_seconds` are those of the last page, None before it.
    `answered` is called once, before the first good answer is returned; `asking` before each request, and what it
    raises ends the call.
    """

    def __init__(
        self,
        http: httpx.Client,
        token: TokenSource,
        base_url: str,
        page_size: int = 100,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        capability: Capability | None = None,
        clock: Clock | None = None,
        answered: Callable[[], None] | None = None,
        asking: Callable[[], None] = lambda: None,
    ) -> None:
        self.page_size = page_size
        self.capability = capability
        self.token = token
        self.clock: Clock = clock or SystemClock()
        self.seconds_waited = 0.0
        self.server_ticks: int | None = None
        self.skew_seconds: float | None = None
        self._http = http
        self._answered = answered
        self._asking = asking
        self._base_url = base_url.rstrip("/")
        begun = self.clock.monotonic()
        self._deadline = begun + deadline_seconds
        self._connect_deadline: float | None = begun + CONNECT_SECONDS

    @property
    def filters(self) -> bool:
        """Whether a query may filter on `updatedDateTime`: the API accepts that, or nothing is known about it."""
        capability = self._believed_capability()
        return capability is None or capability.updated_filter

    def get_page(self, request: PageQuery | str, *, tries: int | None = None) -> Page:
        """Return the page that a query or a next link asks for.

        An error that may be due to what is asked for (`retry.repeats`) is raised after `tries`, if given; others are
        retried until the deadline.
        Raises SignInRequired, AccessDenied, Throttled, Unreachable, ApiRefused, FilterRefused for a query with dates,
        and ForeignHost for a next link to another host.
        """
        if isinstance(request, str):
            try:
                return self._get_list(next_url(request, self._base_url), tries)
            except httpx.InvalidURL:
                raise ForeignHost("Partner Center sent a next link that is no address. Try again later.") from None
        if not request.has_dates:
            return self._get_query(request, DateLiteral.BARE, tries)
        capability = self._believed_capability()
        if capability is not None and capability.date_literal is not None:
            try:
                return self._get_query(request, capability.date_literal, tries)
            except ApiRefused as refused:
                if refused.status != 400 or self._takes_filter(request, capability.date_literal):
                    raise
        return self._get_finding_capability(request, tries)

    def get_referral(self, referral_id: str) -> Any:
        """Return the referral with this id as the API sends it; None where it answers 404.

        It may differ in form from a row of a list. Raises what `get_page` raises.
        """
        try:
            url = f"{self._base_url}{REFERRALS_PATH}/{quote(referral_id, safe='')}"
            return self._get_with_retries(url, lambda _, body: body)
        except ApiRefused as refused:
            if refused.status != 404:
                raise
            self._tell_answered()
            return None

    def shows(self, referral_id: str) -> bool:
        """Say whether Partner Center shows a referral by its id. Raises what `get_page` raises."""
        return self.get_referral(referral_id) is not None

    def ask(self, options: Mapping[str, str]) -> Page:
        """Return the page of a list request with exactly these query options. Raises what `get_page` raises."""
        return self._get_list(f"{self._base_url}{REFERRALS_PATH}?{query_text(options)}")

    def _believed_capability(self) -> Capability | None:
        capability = self.capability
        return capability if capability is not None and capability.is_believed(self.clock.utc()) else None

    def _takes_filter(self, query: PageQuery, literal: DateLiteral) -> bool:
        """Ask the query for an interval without rows: where that is accepted, not the filter is refused but a row."""
        bound = query.updated_from if query.updated_before is None else query.updated_before
        try:
            self._get_query(replace(query, updated_from=bound, updated_before=bound), literal)
        except ApiRefused:
            return False
        return True

    def _get_finding_capability(self, query: PageQuery, tries: int | None) -> Page:
        """Ask with each form of dates until one is accepted, and keep that form in `capability`.

        Where both are refused, the same query for an interval without rows, and then without the filter, shows whether
        the filter is the reason.
        """
        refusals: list[ApiRefused] = []
        for literal in DateLiteral:
            try:
                page = self._get_query(query, literal, tries)
            except ApiRefused as refused:
                if refused.status != 400:
                    raise
                refusals.append(refused)
            else:
                self.capability = Capability(literal, self.clock.utc())
                return page
        for literal, refusal in zip(DateLiteral, refusals, strict=True):
            if self._takes_filter(query, literal):
                self.capability = Capability(literal, self.clock.utc())
                raise refusal
        first = refusals[0]
        try:
            self._get_query(replace(query, updated_from=None, updated_before=None), DateLiteral.BARE)
        except ApiRefused:
            raise first from None
        self.capability = Capability(None, self.clock.utc())
        _log.warning("Partner Center takes no filter on updatedDateTime; its list is read from the newest referral on")
        raise FilterRefused(str(first), code=first.code, status=first.status, request_id=first.request_id) from None

    def _get_query(self, query: PageQuery, literal: DateLiteral, tries: int | None = None) -> Page:
        return self._get_list(f"{self._base_url}{REFERRALS_PATH}?{query.text(literal)}", tries)

    def _get_list(self, url: str, tries: int | None = None) -> Page:
        return self._get_with_retries(url, self._read_page, tries)

    def _get_with_retries(
        self, url: str, read: Callable[[httpx.Response, Any], _Read], tries: int | None = None
    ) -> _Read:
        """Get an answer and `read` it; retry transient errors until the deadline, or `tries` times what may repeat."""

        def get_once() -> _Read:
            with answered_within(max(self._deadline - self.clock.monotonic(), AT_ONCE_SECONDS)):
                response = self._send_renewing_token(url)
            body = _decode_body(response)
            if response.status_code != 200:
                raise _error_of(response, body)
            result = read(response, body)
            self._tell_answered()
            return result

        waited = self.seconds_waited
        result = retrying(self.clock, self._deadline, self._count_wait, tries, self._connect_deadline)(get_once)
        if self.seconds_waited > waited:
            _log.info("Partner Center answered after waiting %s", shown_seconds(self.seconds_waited - waited))
        return result

    def _tell_answered(self) -> None:
        self._connect_deadline = None
        answered, self._answered = self._answered, None
        if answered is not None:
            answered()

    def _count_wait(self, seconds: float) -> None:
        self.seconds_waited += seconds

    def _send_renewing_token(self, url: str) -> httpx.Response:
        """Send, and after 401 send a second time with a renewed token."""
        response = self._send_once(url, self.token())
        if response.status_code == 401:
            response = self._send_once(url, self.token(renew=True))
        return response

    def _send_once(self, url: str, token: str) -> httpx.Response:
        """Send with the API's headers, write a log line, and raise for a transient status."""
        self._asking()
        call_id = str(uuid4())
        note(client_request_id=call_id, request_id=None)
        request = self._http.build_request(
            "GET",
            url,
            headers={
                "Authorization": f"Bearer {token}",
                "Accept": "application/json",
                "client-request-id": call_id,
            },
        )
        response = send_mapping_errors(self._http, request, PARTNER_CENTER)
        request_id = response.headers.get("request-id")
        note(request_id=request_id)
        _log.debug("GET referrals: %d, client-request-id %s, request-id %s", response.status_code, call_id, request_id)
        raise_for_transient_status(response, self.clock, PARTNER_CENTER)
        return response

    def _read_page(self, response: httpx.Response, body: Any) -> Page:
        items = body.get("value") if isinstance(body, dict) else None
        link = body.get("@odata.nextLink") if isinstance(body, dict) else None
        if not isinstance(items, list) or not isinstance(link, str | None):
            raise _refusal(response, ApiProblem("", "the answer is no list of referrals"))
        server_time = http_date(response.headers.get("date"))
        if server_time is None:
            raise _refusal(response, ApiProblem("", "the answer has no Date header, so the server's time is unknown"))
        self.server_ticks = ticks_of(server_time)
        self.skew_seconds = _skew_seconds(server_time, self.clock.utc())
        count = body.get("@odata.count")
        return Page(
            items=items,
            next_link=link or None,
            server_ticks=self.server_ticks,
            skew_seconds=self.skew_seconds,
            request_id=response.headers.get("request-id"),
            count=count if isinstance(count, int) else None,
        )


def _decode_body(response: httpx.Response) -> Any:
    """Return the body's JSON value, None for an error body without one. Raises Unreachable for a 200 without one."""
    try:
        return decode(response.content)
    except ValueError:
        if response.status_code != 200:
            return None
        raise Unreachable(
            "Partner Center's answer is not JSON, or broke off. If it stays so, look for a proxy in between.",
            status=200,
            request_id=response.headers.get("request-id"),
        ) from None


def _skew_seconds(server_time: datetime, local_time: datetime) -> float:
    # The Date header is cut to whole seconds; on average half a second is cut.
    return round((server_time - local_time).total_seconds() + 0.5, 1)


def _error_of(response: httpx.Response, body: Any) -> PartnerCenterError:
    problem = read_problem(body)
    request_id = response.headers.get("request-id")
    facts = {"code": problem.code or None, "status": response.status_code, "request_id": request_id}
    if response.status_code == 401 and problem.says(MISSING_MFA):
        return SignInRequired(
            "Partner Center refuses the sign-in because it was made without multi-factor authentication "
            f"({MISSING_MFA}). Turn MFA on for the account, then run `partner-center login`.",
            **facts,
        )
    if response.status_code == 401:
        return SignInRequired(
            f"Partner Center refuses a token that was renewed a moment ago{_details(response, problem)}. "
            "Check that HUNTER_PARTNER_CENTER_SCOPE belongs to the API and that the app has the delegated "
            "permission user_impersonation, then run `partner-center login`.",
            **facts,
        )
    if response.status_code == 403:
        claims = (
            " A Conditional Access policy on the API asks for more than the sign-in gave."
            if problem.says("insufficient_claims") or problem.says("insufficent_claims")
            else ""
        )
        return AccessDenied(
            f"The signed-in account may not read referrals{_details(response, problem)}.{claims} It needs "
            "the Partner Center role Referral Admin for the entire company (a Referral User sees only "
            "referrals it is a member of). Assign the role, have the account open Partner Center once, "
            "then try again.",
            **facts,
        )
    return _refusal(response, problem)


def _refusal(response: httpx.Response, problem: ApiProblem) -> ApiRefused:
    hint = " Check HUNTER_PARTNER_CENTER_BASE_URL." if response.status_code in (301, 302, 307, 308, 404) else ""
    return ApiRefused(
        f"Partner Center does not answer as expected{_details(response, problem)}.{hint} Run "
        "`partner-center doctor`; for a support case, give Microsoft the request id.",
        code=problem.code or None,
        status=response.status_code,
        request_id=response.headers.get("request-id"),
    )


def _details(response: httpx.Response, problem: ApiProblem) -> str:
    parts = (
        f"HTTP {response.status_code}",
        problem.code and f"code {problem.code}",
        problem.message.rstrip("."),
        f"request id {response.headers.get('request-id', 'none')}",
    )
    return f" ({', '.join(part for part in parts if part)})"
