"""OData as the Referrals API speaks it: query text, next links, error bodies, Retry-After. Pure functions.

Rules and quirks: partner_center_api.md, sections 1.2, 2 and 4. What does not belong here: sending anything
(`client`), deciding what to ask next (`scan`).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from partner_center_pipeline.partner_center.errors import ForeignHost
from partner_center_pipeline.windows import render_ticks

REFERRALS_PATH: Final = "/v1.0/engagements/referrals"

_SAME_PLACE: Final = ("/v1.0/referrals", "/v1.0/engagments/referrals")
"""Paths that Microsoft's own next links print for `REFERRALS_PATH` (section 2, quirks 1 and 4)."""

_KNOWN_CODES: Final = frozenset(
    (
        "accessdenied", "generalexception", "invalidrequest", "itemnotfound", "preconditionfailed",
        "resourcemodified", "servicenotavailable", "unauthenticated", "unauthorized",
        "insufficient_claims", "insufficent_claims", "900420", "900421",
    )
)  # fmt: skip
"""Sections 1.3 and 4, lower-cased; `insufficent_claims` is the documentation's spelling."""

_SAFE: Final = ":'"
"""Left readable in a query string; both are allowed there."""

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_EMAIL: Final = re.compile(r"[^\s@'\"<>]+@[^\s@'\"<>]+")


class DateLiteral(StrEnum):
    """How a date is written in `$filter`. No document shows one (section 2, "Date literal")."""

    BARE = "bare"
    QUOTED = "quoted"


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The first page of the referrals with `updatedDateTime` in `[updated_from, updated_before)`, by `updatedDateTime`.

    Both bounds are ticks; None leaves that side open. `top` is the number of rows asked for; the server may
    send fewer. `skip` is the number of rows left out at the beginning.
    """

    top: int
    updated_from: int | None = None
    updated_before: int | None = None
    descending: bool = False
    skip: int = 0

    def text(self, literal: DateLiteral) -> str:
        """The percent-encoded query string."""
        mark = "'" if literal is DateLiteral.QUOTED else ""
        conditions = [
            f"updatedDateTime {operator} {mark}{render_ticks(ticks)}{mark}"
            for operator, ticks in (("ge", self.updated_from), ("lt", self.updated_before))
            if ticks is not None
        ]
        return query_text(
            {
                "$filter": " and ".join(conditions),
                "$orderby": f"updatedDateTime {'desc' if self.descending else 'asc'}",
                "$top": str(self.top),
                "$skip": str(self.skip or ""),
            }
        )

    @property
    def has_dates(self) -> bool:
        """Whether the query filters at all."""
        return self.updated_from is not None or self.updated_before is not None


def query_text(options: Mapping[str, str]) -> str:
    """The percent-encoded query string of these options; empty ones are left out."""
    return "&".join(f"{name}={quote(value, safe=_SAFE)}" for name, value in options.items() if value)


def next_url(link: str, base_url: str) -> str:
    """The address a next link stands for, on `base_url` (`https://host[:port]`).

    Scheme and host are always the base's own, so a token never travels elsewhere whatever the link holds; the
    query string is kept verbatim, because a `$skiptoken` is opaque (section 2, quirks 1 and 2). Raises
    ForeignHost for a link to another host or port.
    """
    base = urlsplit(base_url)
    endpoint = f"{base_url}{REFERRALS_PATH}"
    try:
        parts = urlsplit(urljoin(endpoint, link))
        same = parts.hostname == base.hostname and _port(parts) == _port(base)
    except ValueError:
        same = False
    if not same or parts.scheme not in _DEFAULT_PORTS or parts.username is not None:
        raise ForeignHost(
            f"Partner Center sent a next link that leads away from {base.netloc}. It was not followed and "
            "the token was not sent. Try again later; if it stays so, check "
            "HUNTER_PARTNER_CENTER_BASE_URL and tell Microsoft."
        )
    path = REFERRALS_PATH if parts.path.removeprefix(base.path).lower() in _SAME_PLACE else None
    place = f"{base_url}{path}" if path else f"{base.scheme}://{base.netloc}{parts.path}"
    return f"{place}?{parts.query}" if parts.query else place


def _port(parts: SplitResult) -> int | None:
    """The port, None for the scheme's own: Microsoft's links say http where https is meant."""
    return None if parts.port == _DEFAULT_PORTS.get(parts.scheme) else parts.port


@dataclass(frozen=True, slots=True)
class ApiProblem:
    """What an error body says. Both are empty when it says nothing that can be read."""

    code: str
    message: str

    def says(self, text: str) -> bool:
        """Whether code or message holds `text`."""
        return text in self.code or text in self.message


def read_problem(body: Any) -> ApiProblem:
    """The problem in a decoded error body of any of the shapes of section 4.

    `{"error": {code, message, innerError}}` (the deepest known code counts), `{statusCode, message}` of the
    gateway, `{code, description}` of the sibling API. Message: at most 300 characters, e-mail addresses
    blotted out.
    """
    if not isinstance(body, dict):
        return ApiProblem("", "")
    level = body["error"] if isinstance(body.get("error"), dict) else body
    chosen = level
    while isinstance(level, dict):
        if str(level.get("code")).lower() in _KNOWN_CODES:
            chosen = level
        level = level.get("innerError", level.get("innererror"))
    code = chosen.get("code") or body.get("statusCode") or ""
    message = chosen.get("message") or chosen.get("description") or ""
    return ApiProblem(str(code)[:100], _EMAIL.sub("(address)", str(message))[:300])


def http_date(text: str | None) -> datetime | None:
    """The instant (UTC) in a `Date` or `Retry-After` header, or None."""
    try:
        moment = parsedate_to_datetime(text or "")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds to wait by a `Retry-After` header (seconds or a date; `now` is the server's time), or None.

    None for a missing header and one that makes no sense (negative, not finite, not a date). A date that has
    passed is
    0. A huge number is returned as it is: whether to wait that long is the caller's decision.
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        moment = http_date(text)
        return None if moment is None else max(0.0, (moment - now).total_seconds())
    return seconds if seconds >= 0 and math.isfinite(seconds) else None
