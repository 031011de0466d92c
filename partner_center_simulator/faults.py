"""The switches that make the local Microsoft misbehave (partner_center_api.md, sections 1.5, 2, 4, 7 and 9).

Tests set them through `Simulator.faults`, other processes through `/_sim/faults`. Not here: what a fault does
(`referrals`, `paging`, `row_variants`, `entra` and `dns` read the switches at each request).
"""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from threading import Lock
from typing import NamedTuple

from pydantic import PositiveInt

from partner_center_simulator.odata import DateComparison, DateLiteral


class HttpFault(StrEnum):
    """A wrong answer of the Referrals API."""

    UNAUTHORIZED = "unauthorized"
    """401 although the token is valid."""
    MFA_REQUIRED = "mfa_required"
    """401 with code 900421."""
    FORBIDDEN = "forbidden"
    """403, role missing."""
    INSUFFICIENT_CLAIMS = "insufficient_claims"
    """403 from Conditional Access."""
    THROTTLED = "throttled"
    """429 with the API gateway's body."""
    SERVER_ERROR = "server_error"
    """500."""
    UNAVAILABLE = "unavailable"
    """503."""
    UNAVAILABLE_HTML = "unavailable_html"
    """503 with a gateway's HTML page."""
    BAD_GATEWAY = "bad_gateway"
    """502 with a gateway's HTML page."""
    GATEWAY_TIMEOUT = "gateway_timeout"
    """504 with a gateway's HTML page."""
    BANDWIDTH = "bandwidth"
    """509: throttled, in the documented shape."""
    HTML = "html"
    """200 with an HTML page."""
    RESET = "reset"
    """The connection is reset without an answer."""
    CUT_OFF = "cut_off"
    """The connection ends in the middle of the body."""
    TRUNCATED = "truncated"
    """A complete answer whose JSON ends in the middle."""
    SKIPTOKEN_EXPIRED = "skiptoken_expired"
    """400 for a valid $skiptoken. A request without a $skiptoken does not use it up."""


class TokenFault(StrEnum):
    """A wrong answer of the token endpoint. The value is the OAuth error (section 1.5)."""

    SLOW_DOWN = "slow_down"
    EXPIRED = "expired_token"
    DECLINED = "authorization_declined"
    ACCESS_DENIED = "access_denied"
    """Declined, under the name that RFC 8628 gives it."""
    BAD_CODE = "bad_verification_code"
    INVALID_GRANT = "invalid_grant"
    INTERACTION_REQUIRED = "interaction_required"
    INVALID_CLIENT = "invalid_client"
    """AADSTS7000218: "allow public client flows" is off."""
    UNAVAILABLE = "temporarily_unavailable"
    """503."""


class CorruptRow(StrEnum):
    """A row that breaks the contract. Each one that is switched on is added to every page.

    Those without a date are not on pages of a $filter that compares `updatedDateTime`: null fulfils no comparison.
    """

    NO_ID = "no_id"
    NUMBER_ID = "number_id"
    """An id that is a number."""
    NO_DATE = "no_date"
    """No `updatedDateTime`."""
    BAD_DATE = "bad_date"
    NUL = "nul"
    """A NUL character in the customer's name."""
    LONE_SURROGATE = "lone_surrogate"
    """Half a surrogate pair in the customer's name."""
    HUGE_NUMBER = "huge_number"
    """A deal value of 400 digits."""
    TOO_DEEP = "too_deep"
    """Objects nested 400 levels deep."""
    NOT_AN_OBJECT = "not_an_object"
    """A text instead of a referral."""


class IdsShape(StrEnum):
    """A form of `customerProfile.ids` (section 3.2)."""

    EMPTY_OBJECT = "{}"
    EMPTY_LIST = "[]"
    LIST = "list"
    NULL = "null"


class DateHeader(StrEnum):
    """The state of an answer's `Date` header."""

    RIGHT = "right"
    MISSING = "missing"
    GARBLED = "garbled"


class DnsFault(StrEnum):
    """What a name server does instead of answering."""

    TIMEOUT = "timeout"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    MALFORMED = "malformed"
    TRUNCATE = "truncate"
    """UDP answers are empty and have the TC bit, so the client must ask again over TCP."""


@dataclass(slots=True)
class _Plan:
    fault: str
    after: int
    times: int
    retry_after: int | str | None = None
    status: int | None = None
    number: int | None = None


class DueFault(NamedTuple):
    """A planned fault for the present referral request; see `Faults.plan`."""

    fault: HttpFault
    retry_after: int | str | None
    status: int | None


class DueTokenFault(NamedTuple):
    """A planned fault for the present token request; see `Faults.plan_token`."""

    fault: TokenFault
    number: int | None


@dataclass(slots=True)
class Faults:
    """All switches. Each may be changed at any time and from any thread."""

    # Behaviour that Microsoft does not document (sections 2, 9 and 10). Off is what the simulator assumes.
    filter_updated_refused: bool = False
    """400 for a $filter on `updatedDateTime`: only a table of 2019 documents it."""
    orderby_updated_refused: bool = False
    """400 for $orderby on `updatedDateTime`: in 2019 only `createdDateTime` was documented."""
    top_is_total: bool = False
    """$top limits the rows of all pages together, as in OData itself; pages have the server's default size."""
    count_is_total: bool = False
    """@odata.count is the number of matches, not of rows in the page."""
    largest_page: PositiveInt | None = None
    """Most rows in a page, whatever $top is; None is the server's usual limit."""
    compares: DateComparison = DateComparison.EXACT
    """How $filter compares and $orderby sorts `updatedDateTime`."""
    filter_ignored: bool = False
    """Comparisons with `updatedDateTime` in a $filter are passed over, unless `or`, `not` or () enclose them."""
    orderby_ignored: bool = False
    """$orderby is passed over: the newest rows come first."""
    skip_ignored: bool = False
    """$skip is passed over."""
    skip_refused: bool = False
    """400 for $skip."""
    skiptoken_lifetime_seconds: float = 3600.0
    """How long a $skiptoken is valid."""
    created_status_201: bool = False
    """POST answers 201 (the generic table of codes), not 200 (the definition)."""
    illegal_transition_409: bool = False
    """409, not 400, for a change of state that section 6 does not allow."""
    client_request_id_required: bool = False
    """400 without a client-request-id: the header is documented as required."""

    # Faults, and forms that Microsoft is known to vary.
    role_missing: bool = False
    """Every referral request is 403."""
    mfa_missing: bool = False
    """Every referral request is 401 with code 900421."""
    app_only: bool = False
    """Every token counts as an application's without a user: 401."""
    wrong_audience: bool = False
    """Every token counts as a token for another API: 401."""
    locations: frozenset[str] | None = None
    """The locations of the account's role: it sees only referrals that target one of them, and gets no error. None is
    the whole company. `/_sim/state` lists the ids."""
    date_literal: DateLiteral = DateLiteral.EITHER
    """Which date literals $filter accepts."""
    hidden_referrals: frozenset[str] = frozenset()
    """Ids of referrals that the account does not see any more: they are in no list, and 404 by their id."""
    another_account: bool = False
    """Whoever signs in from now on is another user of the tenant."""
    slow_seconds: float = 0.0
    """Seconds that every referral request waits before it is answered."""
    drip_bytes_per_second: float = 0.0
    """The body of every referral answer comes one byte at a time, so many a second. 0 is off."""
    drip_headers_per_second: float = 0.0
    """Every referral answer begins with headers that come one byte at a time, so many a second, and do not end."""
    drip_sign_in_bytes_per_second: float = 0.0
    """The body of every answer of the sign-in service comes one byte at a time, so many a second."""
    next_link_plain: bool = False
    """@odata.nextLink is https with /engagements, like the request, not the documented http form without it."""
    next_link_https: bool = False
    """@odata.nextLink is https, but without /engagements."""
    next_link_engagements: bool = False
    """@odata.nextLink has /engagements, but is http."""
    next_link_missing: bool = False
    """There is no @odata.nextLink although more rows follow."""
    next_link_dead: bool = False
    """@odata.nextLink leads to an empty list (200), although more rows follow."""
    next_link_back: bool = False
    """@odata.nextLink of any page but the first leads back to the first page."""
    next_link_foreign: bool = False
    """@odata.nextLink names another host."""
    next_link_loop: bool = False
    """@odata.nextLink leads to its own page."""
    offset_paging: bool = False
    """A $skiptoken holds an offset, not a position in the order. A row that leaves the filter or moves in the order
    during a scan then makes the reader miss other rows (section 2, quirk 5)."""
    touch_between_pages: bool = False
    """Before each page but the first is read, the last row of the previous page is updated, at most once in a scan."""
    duplicate_pages: bool = False
    """@odata.nextLink leads to each page twice."""
    reordered_rows: bool = False
    """The rows of a page are in the opposite order."""
    out_of_order_row: bool = False
    """The first row of a page is held back until the end of the next page."""
    late_visible_seconds: float = 0.0
    """Seconds after its `updatedDateTime` before a row is in lists. Until then it is found only by its id."""
    duplicate_rows: bool = False
    """The last row of a page is repeated as the first of the next."""
    corrupt_rows: frozenset[CorruptRow] = frozenset()
    """Rows that break the contract, added to each page."""
    poisoned_rows: frozenset[str] = frozenset()
    """Ids of referrals that the server cannot print: every page that holds one is answered with `poison_status`."""
    rows_refused_above: PositiveInt | None = None
    """A page with more rows than this is answered with `poison_status`; None is no such limit."""
    poison_status: PositiveInt = 400
    """The status of an answer that a row or the size of the page spoils: 400 or 500."""
    unknown_values: bool = False
    """Rows have a key and enumeration values that are not documented."""
    ids_shape: IdsShape | None = None
    """Every `customerProfile.ids` has this form."""
    padded_fractions: bool = False
    """Every instant has seven fraction digits, zeros included."""
    html_names: bool = False
    """Names of deals and customers have HTML entities for every non-ASCII letter, & < > and quotes."""
    date_header: DateHeader = DateHeader.RIGHT
    """The state of the `Date` header."""
    date_skew_seconds: float = 0.0
    """Seconds by which the `Date` header is ahead of the server's clock, or behind it if negative."""
    referral_user: bool = False
    """The account is a Referral User: it sees only referrals with its address in `team`, and gets no error."""
    token_lifetime_seconds: PositiveInt = 3599
    """Seconds that an access token is valid, by the server's clock."""
    refresh_blocked: bool = False
    """Conditional Access refuses every silent renewal (AADSTS53003)."""
    device_code_blocked: bool = False
    """Conditional Access blocks device code flow: sign-in (AADSTS53003) and later renewal (AADSTS530036)."""
    consent_declined: bool = False
    """The person at the browser declines what the app asks for (AADSTS65004)."""
    public_client_off: bool = False
    """The app registration does not allow public client flows (AADSTS7000218)."""
    dns: DnsFault | None = None
    """The fault of every DNS question."""
    dns_names: dict[str, DnsFault] = field(default_factory=dict)
    """The fault of DNS questions for a name and the names below it."""
    _http_plans: list[_Plan] = field(default_factory=list)
    _token_plans: list[_Plan] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def plan(
        self,
        fault: HttpFault,
        *,
        times: int = 1,
        after: int = 0,
        retry_after: int | str | None = None,
        status: int | None = None,
    ) -> None:
        """Answer `times` referral requests with `fault`, after `after` right answers. Plans follow each other.

        `retry_after` is the Retry-After header: seconds, "date" for a date one minute ahead of the server's clock,
        "past" for one a minute behind it, or any other text; None sends no header. `status` replaces the fault's own
        status: 423, 507 and the others of section 4.
        """
        with self._lock:
            self._http_plans.append(_Plan(fault, after, times, retry_after, status))

    def plan_token(self, fault: TokenFault, *, times: int = 1, after: int = 0, number: int | None = None) -> None:
        """Answer `times` token requests with `fault`, after `after` right answers.

        `number` replaces the fault's own AADSTS number (section 1.5 lists them).
        """
        with self._lock:
            self._token_plans.append(_Plan(fault, after, times, number=number))

    def clear(self) -> None:
        """Switch everything off and remove all plans."""
        fresh = Faults()
        with self._lock:
            for each in fields(self):
                if each.name != "_lock":
                    setattr(self, each.name, getattr(fresh, each.name))

    def next_http(self, *, has_skiptoken: bool) -> DueFault | None:
        """Return the fault planned for this referral request, if any, and count it as used."""
        with self._lock:
            plans = self._http_plans
            if plans and plans[0].fault == HttpFault.SKIPTOKEN_EXPIRED and not has_skiptoken:
                return None
            plan = _next_plan(plans)
        return None if plan is None else DueFault(HttpFault(plan.fault), plan.retry_after, plan.status)

    def next_token(self) -> DueTokenFault | None:
        """Return the fault planned for this token request, if any, and count it as used."""
        with self._lock:
            plan = _next_plan(self._token_plans)
        return None if plan is None else DueTokenFault(TokenFault(plan.fault), plan.number)

    def dns_fault(self, name: str) -> DnsFault | None:
        """Return the fault of a question for `name` (lower-case, no final dot), or None."""
        if self.dns is not None:
            return self.dns
        while name and name not in self.dns_names:
            name = name.partition(".")[2]
        return self.dns_names.get(name)


def _next_plan(plans: list[_Plan]) -> _Plan | None:
    if not plans:
        return None
    first = plans[0]
    if first.after > 0:
        first.after -= 1
        return None
    first.times -= 1
    if first.times <= 0:
        plans.pop(0)
    return first
