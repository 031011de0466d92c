"""The switches that make the local Microsoft misbehave (partner_center_api.md, sections 1.5, 2, 4, 7 and 9).

Tests set them through `Simulator.faults`, other processes through `/_sim/faults`. Not here: carrying them out
(`referrals`, `entra` and `dns` ask at each request).
"""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from threading import Lock
from typing import NamedTuple

from pydantic import PositiveInt

from partner_center_simulator.odata import DateLiteral


class HttpFault(StrEnum):
    """One answer of the Referrals API that is not the right one."""

    UNAUTHORIZED = "unauthorized"
    """401 although the token is good."""
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
    """The connection is reset and nothing is answered."""
    CUT_OFF = "cut_off"
    """The connection ends in the middle of the body."""
    TRUNCATED = "truncated"
    """A complete answer whose JSON ends in the middle."""
    SKIPTOKEN_EXPIRED = "skiptoken_expired"
    """400 for a $skiptoken that was good; other requests pass it by."""


class TokenFault(StrEnum):
    """One answer of the token endpoint that is not the right one; the value is the OAuth error (section 1.5)."""

    SLOW_DOWN = "slow_down"
    EXPIRED = "expired_token"
    DECLINED = "authorization_declined"
    ACCESS_DENIED = "access_denied"
    """Declined, by the name of RFC 8628."""
    BAD_CODE = "bad_verification_code"
    INVALID_GRANT = "invalid_grant"
    INTERACTION_REQUIRED = "interaction_required"
    INVALID_CLIENT = "invalid_client"
    """AADSTS7000218: "allow public client flows" is off."""
    UNAVAILABLE = "temporarily_unavailable"
    """503."""


class CorruptRow(StrEnum):
    """A row that breaks the contract; each is put into every page while it is on."""

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
    """Objects within objects, 400 levels."""
    NOT_AN_OBJECT = "not_an_object"
    """A text where a referral should be."""


class IdsShape(StrEnum):
    """A form of `customerProfile.ids` (section 3.2)."""

    EMPTY_OBJECT = "{}"
    EMPTY_LIST = "[]"
    LIST = "list"
    NULL = "null"


class DateHeader(StrEnum):
    """What the `Date` header of an answer is."""

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
    """UDP answers come empty with the TC bit: the question must be asked again over TCP."""


@dataclass(slots=True)
class _Planned:
    fault: str
    after: int
    times: int
    retry_after: int | str | None = None
    status: int | None = None
    number: int | None = None


class DueFault(NamedTuple):
    """A planned fault that a referral request has met; see `Faults.plan`."""

    fault: HttpFault
    retry_after: int | str | None
    status: int | None


class DueTokenFault(NamedTuple):
    """A planned fault that a token request has met; see `Faults.plan_token`."""

    fault: TokenFault
    number: int | None


@dataclass(slots=True)
class Faults:
    """All switches; each may be flipped at any moment, from any thread."""

    # What Microsoft documents nowhere, so that it may be one or the other (sections 2, 9 and 10). Off is what the
    # simulator assumes.
    filter_updated_refused: bool = False
    """400 for a $filter on `updatedDateTime`: only the 2019 table promises it."""
    orderby_updated_refused: bool = False
    """400 for $orderby on `updatedDateTime`: in 2019 only `createdDateTime` was named."""
    top_is_total: bool = False
    """$top is the most rows in all pages together, as in OData itself; pages have the server's default size."""
    count_is_total: bool = False
    """@odata.count is the number of matches, not of rows in the page."""
    largest_page: PositiveInt | None = None
    """Rows in a page at most, whatever $top asks; None leaves it to the server's usual sizes."""
    skiptoken_lifetime_seconds: float = 3600.0
    """How long a $skiptoken lives."""
    created_status_201: bool = False
    """POST answers 201 (the generic table of codes), not 200 (the definition)."""
    illegal_transition_409: bool = False
    """A change of state that section 6 does not allow is 409, not 400."""
    client_request_id_required: bool = False
    """400 without a client-request-id: the header is documented as required."""

    # What goes wrong, or differs from one answer to another.
    role_missing: bool = False
    """Every referral request is 403."""
    mfa_missing: bool = False
    """Every referral request is 401 with code 900421."""
    app_only: bool = False
    """Every token counts as one of an application without a user: 401."""
    wrong_audience: bool = False
    """Every token counts as one for another API: 401."""
    locations: frozenset[str] | None = None
    """The locations that the account's role was given for: it sees only referrals that target one of them, without
    any error; None is the entire company. `/_sim/state` lists the ids."""
    date_literal: DateLiteral = DateLiteral.EITHER
    """Which date literals $filter takes."""
    slow_seconds: float = 0.0
    """Seconds that every referral request waits before it is answered."""
    next_link_plain: bool = False
    """@odata.nextLink is the request's own https address with /engagements, not the documented http form without."""
    next_link_https: bool = False
    """@odata.nextLink is https, though without /engagements."""
    next_link_engagements: bool = False
    """@odata.nextLink has /engagements, though over http."""
    next_link_missing: bool = False
    """There is no @odata.nextLink although more rows follow."""
    next_link_back: bool = False
    """@odata.nextLink of a page that a link led to leads back to the first page."""
    next_link_foreign: bool = False
    """@odata.nextLink names another host."""
    next_link_loop: bool = False
    """@odata.nextLink leads to the page it stands on."""
    offset_paging: bool = False
    """A $skiptoken holds an offset, not a place in the order: rows that leave the filter, or move in the order, while
    they are being paged shift unseen rows past the reader (section 2, quirk 5)."""
    touch_between_pages: bool = False
    """Before a page that a link led to is read, the last row of the page before is updated, once in a scan."""
    duplicate_pages: bool = False
    """@odata.nextLink leads to each page once more before it goes on."""
    reordered_rows: bool = False
    """The rows of a page come in the opposite order."""
    out_of_order_row: bool = False
    """The first row of a page is held back and comes at the end of the next page."""
    late_visible_seconds: float = 0.0
    """Lists show a row only so many seconds after its `updatedDateTime`; before, it is found by its id alone."""
    duplicate_rows: bool = False
    """The last row of a page comes again as the first of the next."""
    corrupt_rows: frozenset[CorruptRow] = frozenset()
    """Rows that break the contract, added to each page."""
    unknown_values: bool = False
    """Rows carry a key and enumeration values that no document names."""
    ids_shape: IdsShape | None = None
    """Every `customerProfile.ids` has this form."""
    padded_fractions: bool = False
    """Every instant is printed with seven fraction digits, zeros included."""
    html_names: bool = False
    """Names of deals and customers have every letter that is not ASCII, and & < > and quotes, as HTML entities."""
    date_header: DateHeader = DateHeader.RIGHT
    """What is wrong with the `Date` header."""
    date_skew_seconds: float = 0.0
    """How far the `Date` header is ahead of the server's clock, behind it when negative."""
    referral_user: bool = False
    """The account is a Referral User: it sees only referrals in whose `team` it stands, without any error."""
    token_lifetime_seconds: PositiveInt = 3599
    """Seconds that an access token lives, by the server's clock."""
    refresh_blocked: bool = False
    """Conditional Access refuses every silent renewal (AADSTS53003)."""
    device_code_blocked: bool = False
    """Conditional Access blocks device code flow: its sign-ins (AADSTS53003) and their renewals (AADSTS530036)."""
    consent_declined: bool = False
    """The person at the browser's sign-in page declines what the app asks for (AADSTS65004)."""
    public_client_off: bool = False
    """The app registration does not allow public client flows (AADSTS7000218)."""
    dns: DnsFault | None = None
    """What the name server does with every question."""
    dns_names: dict[str, DnsFault] = field(default_factory=dict)
    """What it does with questions for a name and the names below it."""
    _planned: dict[str, list[_Planned]] = field(default_factory=lambda: {"http": [], "token": []})
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
        """Answer `times` referral requests with `fault`, after `after` good ones.

        `retry_after` is seconds, or "date" or "past" for a date one minute ahead of the server's clock or behind it,
        or a text sent as it is; None sends no Retry-After header. `status` replaces the fault's own status: 423, 507
        and the others of section 4. Plans run one behind the other.
        """
        with self._lock:
            self._planned["http"].append(_Planned(fault, after, times, retry_after, status))

    def plan_token(self, fault: TokenFault, *, times: int = 1, after: int = 0, number: int | None = None) -> None:
        """Answer `times` token requests with `fault`, after `after` good ones.

        `number` replaces the fault's own AADSTS number (section 1.5 lists them).
        """
        with self._lock:
            self._planned["token"].append(_Planned(fault, after, times, number=number))

    def clear(self) -> None:
        """All switches off, all plans forgotten."""
        fresh = Faults()
        with self._lock:
            for each in fields(self):
                if each.name != "_lock":
                    setattr(self, each.name, getattr(fresh, each.name))

    def next_http(self, *, has_skiptoken: bool) -> DueFault | None:
        """Return the fault planned for this referral request, if any, and count it as used."""
        with self._lock:
            planned = self._planned["http"]
            if planned and planned[0].fault == HttpFault.SKIPTOKEN_EXPIRED and not has_skiptoken:
                return None
            taken = _take(planned)
        return None if taken is None else DueFault(HttpFault(taken.fault), taken.retry_after, taken.status)

    def next_token(self) -> DueTokenFault | None:
        """Return the fault planned for this token request, if any, and count it as used."""
        with self._lock:
            taken = _take(self._planned["token"])
        return None if taken is None else DueTokenFault(TokenFault(taken.fault), taken.number)

    def dns_fault(self, name: str) -> DnsFault | None:
        """Return the fault of a question for `name` (lower-case, no dot at the end)."""
        if self.dns is not None:
            return self.dns
        if not self.dns_names:
            return None
        labels = name.split(".")
        return next((found for at in range(len(labels)) if (found := self.dns_names.get(".".join(labels[at:])))), None)


def _take(planned: list[_Planned]) -> _Planned | None:
    if not planned:
        return None
    first = planned[0]
    if first.after > 0:
        first.after -= 1
        return None
    first.times -= 1
    if first.times <= 0:
        planned.pop(0)
    return first
