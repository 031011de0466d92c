"""The switches that make the local Microsoft misbehave (partner_center_api.md, sections 1.5, 2, 4, 7 and 9).

What belongs here: which faults there are and which are on. What does not: carrying them out (`referrals`, `entra`,
`dns` ask here at each request). Tests flip them through `Simulator.faults`; other processes through `/_sim/faults`.
"""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from threading import Lock

from partner_center_pipeline.simulator.odata import DateLiteral


class HttpFault(StrEnum):
    """One answer of the Referrals API that is not the right one."""

    UNAUTHORIZED = "unauthorized"
    """401 although the token is good."""
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
    GATEWAY_TIMEOUT = "gateway_timeout"
    """504 with a gateway's HTML page."""
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
    BAD_DATE = "bad_date"
    NUL = "nul"
    """A NUL character in the customer's name."""
    LONE_SURROGATE = "lone_surrogate"
    """Half a surrogate pair in the customer's name."""


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


@dataclass(slots=True)
class Faults:
    """All switches; each may be flipped at any moment, from any thread."""

    role_missing: bool = False
    """Every referral request is 403."""
    mfa_missing: bool = False
    """Every referral request is 401 with code 900421."""
    date_literal: DateLiteral = DateLiteral.EITHER
    """Which date literals $filter takes."""
    slow_seconds: float = 0.0
    """Seconds that every referral request waits before it is answered."""
    next_link_plain: bool = False
    """@odata.nextLink is the request's own https address with /engagements, not the documented http form without."""
    next_link_foreign: bool = False
    """@odata.nextLink names another host."""
    next_link_loop: bool = False
    """@odata.nextLink leads to the page it stands on."""
    duplicate_rows: bool = False
    """The last row of a page comes again as the first of the next."""
    corrupt_rows: frozenset[CorruptRow] = frozenset()
    """Rows that break the contract, added to each page."""
    unknown_values: bool = False
    """Rows carry a key and enumeration values that no document names."""
    referral_user: bool = False
    """The account is a Referral User: it sees only referrals in whose `team` it stands, without any error."""
    refresh_blocked: bool = False
    """Conditional Access refuses every silent renewal (AADSTS53003)."""
    public_client_off: bool = False
    """The app registration does not allow public client flows (AADSTS7000218)."""
    dns: DnsFault | None = None
    """What the name server does with every question."""
    dns_names: dict[str, DnsFault] = field(default_factory=dict)
    """What it does with questions for a name and the names below it."""
    _planned: dict[str, list[_Planned]] = field(default_factory=lambda: {"http": [], "token": []})
    _lock: Lock = field(default_factory=Lock)

    def plan(self, fault: HttpFault, *, times: int = 1, after: int = 0, retry_after: int | str | None = None) -> None:
        """Answer `times` referral requests with `fault`, after `after` good ones.

        `retry_after` is seconds, or "date" for a date one minute ahead of the server's clock, or a text sent as it is;
        None sends no Retry-After header. Plans run one behind the other.
        """
        with self._lock:
            self._planned["http"].append(_Planned(fault, after, times, retry_after))

    def plan_token(self, fault: TokenFault, *, times: int = 1, after: int = 0) -> None:
        """Answer `times` token requests with `fault`, after `after` good ones."""
        with self._lock:
            self._planned["token"].append(_Planned(fault, after, times))

    def clear(self) -> None:
        """All switches off, all plans forgotten."""
        fresh = Faults()
        with self._lock:
            for each in fields(self):
                if each.name != "_lock":
                    setattr(self, each.name, getattr(fresh, each.name))

    def next_http(self, *, has_skiptoken: bool) -> tuple[HttpFault, int | str | None] | None:
        """The fault this referral request meets, if any, with its Retry-After; uses the plan up."""
        with self._lock:
            planned = self._planned["http"]
            if planned and planned[0].fault == HttpFault.SKIPTOKEN_EXPIRED and not has_skiptoken:
                return None
            taken = _take(planned)
        return None if taken is None else (HttpFault(taken.fault), taken.retry_after)

    def next_token(self) -> TokenFault | None:
        """The fault this token request meets, if any; uses the plan up."""
        with self._lock:
            taken = _take(self._planned["token"])
        return None if taken is None else TokenFault(taken.fault)

    def dns_fault(self, name: str) -> DnsFault | None:
        """The fault of a question for `name` (lower-case, no dot at the end)."""
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
