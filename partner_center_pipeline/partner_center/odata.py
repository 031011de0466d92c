"""OData as the Referrals API uses it: query text, next links, error bodies, Retry-After. Pure functions.

Rules and quirks: partner_center_api.md, sections 1.2, 2 and 4. Not here: sending (`client`), which page comes next
(`scan`).
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

_ALIAS_PATHS: Final = ("/v1.0/referrals", "/v1.0/engagments/referrals")
"""Paths in Microsoft's next links that mean `REFERRALS_PATH` (section 2, quirks 1 and 4)."""

_KNOWN_CODES: Final = frozenset(
    (
        "accessdenied", "generalexception", "invalidrequest", "itemnotfound", "preconditionfailed",
        "resourcemodified", "servicenotavailable", "unauthenticated", "unauthorized",
        "insufficient_claims", "insufficent_claims", "900420", "900421",
    )
)  # fmt: skip
"""Microsoft's error codes of sections 1.3 and 4, in lower case; `insufficent_claims` is the documents' spelling."""

_SAFE: Final = ":'"
"""Characters that a query string may contain as they are."""

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_LONG: Final = re.compile(r"[\w\-.+/=]{60,}")
_EMAIL: Final = re.compile(r"(?<![^\s@'\"<>])[^\s@'\"<>]+@[^\s@'\"<>]+")
"""Begins where a word does: else a word of 100,000 letters would take half a minute."""
_PHONE: Final = re.compile(r"(?<![\w\-+.:/])(?:\+|\(|0)[\d()./\- ]{7,30}\d(?![\w\-])")
"""A number as people write a phone's: it begins with +, ( or 0. A date, a GUID and a count do not."""
_QUOTED: Final = re.compile(r"""(?<!\w)(['"])([^'"]{1,300})\1(?!\w)""")
_IDENTIFIER: Final = re.compile(r"[a-z\d@$][\w@$./:*,()\[\]\-]*|Edm\.\w+", re.ASCII)
"""What may stand in quotes: a field, an option, a date or a type. Anything else is a value, perhaps of a person."""


class DateLiteral(StrEnum):
    """How a date is written in `$filter`. No document shows it (section 2, "Date literal")."""

    BARE = "bare"
    QUOTED = "quoted"


@dataclass(frozen=True, slots=True)
class PageQuery:
    """A query for the referrals with `updatedDateTime` in `[updated_from, updated_before)`, in that field's order.

    Both bounds are ticks; None leaves that side open. `top` is the number of rows asked for; the server may send fewer.
    `skip` is the number of rows left out at the beginning. `by_created` orders by `createdDateTime` instead. `where` is
    a further condition without dates.
    """

    top: int
    updated_from: int | None = None
    updated_before: int | None = None
    descending: bool = False
    skip: int = 0
    by_created: bool = False
    where: str = ""

    def text(self, literal: DateLiteral) -> str:
        """Return the percent-encoded query string."""
        mark = "'" if literal is DateLiteral.QUOTED else ""
        conditions = [
            f"updatedDateTime {operator} {mark}{render_ticks(ticks)}{mark}"
            for operator, ticks in (("ge", self.updated_from), ("lt", self.updated_before))
            if ticks is not None
        ]
        return query_text(
            {
                "$filter": " and ".join([*conditions, self.where] if self.where else conditions),
                "$orderby": f"{'created' if self.by_created else 'updated'}DateTime "
                f"{'desc' if self.descending else 'asc'}",
                "$top": str(self.top),
                "$skip": str(self.skip or ""),
            }
        )

    @property
    def has_dates(self) -> bool:
        """Whether the query has a filter on `updatedDateTime`."""
        return self.updated_from is not None or self.updated_before is not None


def query_text(options: Mapping[str, str]) -> str:
    """Return the percent-encoded query string of these options without the empty ones."""
    return "&".join(f"{name}={quote(value, safe=_SAFE)}" for name, value in options.items() if value)


def next_url(link: str, base_url: str) -> str:
    """Return the address on `base_url` (`https://host[:port]`) that a next link means.

    Scheme and host are always those of `base_url`, so a token is never sent to another host. The query string is not
    changed, because a `$skiptoken` is opaque (section 2, quirks 1 and 2). Raises ForeignHost for a link to another host
    or port.
    """
    base = urlsplit(base_url)
    endpoint = f"{base_url}{REFERRALS_PATH}"
    try:
        parts = urlsplit(urljoin(endpoint, link))
        same_host = parts.hostname == base.hostname and _port(parts) == _port(base)
    except ValueError:
        same_host = False
    if not same_host or parts.scheme not in _DEFAULT_PORTS or parts.username is not None:
        raise ForeignHost(
            f"Partner Center sent a next link that leads away from {base.netloc}. It was not followed and "
            "the token was not sent. Try again later; if it stays so, check "
            "HUNTER_PARTNER_CENTER_BASE_URL and tell Microsoft."
        )
    is_alias = parts.path.removeprefix(base.path).lower() in _ALIAS_PATHS
    address = endpoint if is_alias else f"{base.scheme}://{base.netloc}{parts.path}"
    return f"{address}?{parts.query}" if parts.query else address


def _port(parts: SplitResult) -> int | None:
    """Return the port, None for the scheme's default: Microsoft's links say http where https is meant."""
    return None if parts.port == _DEFAULT_PORTS.get(parts.scheme) else parts.port


@dataclass(frozen=True, slots=True)
class ApiProblem:
    """What an error body says. Both are empty when it says nothing readable."""

    code: str
    message: str

    def says(self, text: str) -> bool:
        """Say whether `text` is in the code or in the message."""
        return text in self.code or text in self.message


def read_problem(body: Any) -> ApiProblem:
    """Return the problem that a decoded error body names, in any of the forms of section 4.

    These are `{"error": {code, message, innerError}}` (the deepest known code counts), the gateway's
    `{statusCode, message}`, and the CSP API's `{code, description}`. Both are one line without control characters.
    The message is cut to 300 characters; `(address)` replaces each e-mail address, `(number)` each phone number,
    `(value)` what stands in quotes and is no identifier, and `(left out)` what is long enough to be a token.
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
    return ApiProblem(_harmless(code)[:100], _harmless(message)[:300])


def _harmless(text: object) -> str:
    one_line = " ".join(_CONTROLS.sub(" ", str(text)).split())
    shown = _PHONE.sub("(number)", _EMAIL.sub("(address)", one_line))
    return _LONG.sub("(left out)", _QUOTED.sub(_without_value, shown))


def _without_value(quoted: re.Match[str]) -> str:
    mark, value = quoted[1], quoted[2]
    return quoted[0] if _IDENTIFIER.fullmatch(value) else f"{mark}(value){mark}"


def http_date(text: str | None) -> datetime | None:
    """Return the instant (aware, UTC) in a `Date` or `Retry-After` header; None where there is none."""
    try:
        moment = parsedate_to_datetime(text or "")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def retry_after(text: str | None, now: datetime) -> float | None:
    """Return the seconds to wait for a `Retry-After` header, which holds seconds or a date.

    `now` is the server's time. A date in the past gives 0; a missing header, or one without a meaning (negative, not
    finite, not a date), gives None. The number has no upper limit: the caller decides whether to wait that long.
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        moment = http_date(text)
        return None if moment is None else max(0.0, (moment - now).total_seconds())
    return seconds if seconds >= 0 and math.isfinite(seconds) else None
