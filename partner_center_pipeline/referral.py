"""Referrals as plain data on their way from the API into the warehouse.

Not here: reading and judging a payload (`partner_center`), storing it (`warehouse`), what it means (`leads`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Breach(StrEnum):
    """How a row breaks the payload contract."""

    NOT_AN_OBJECT = "not_an_object"
    NO_ID = "no_id"
    BAD_ID = "bad_id"
    NO_UPDATED = "no_updated"
    BAD_UPDATED = "bad_updated"
    UNSTORABLE_TEXT = "unstorable_text"
    """NUL or a lone surrogate, which neither JSONB nor UTF-8 can hold."""
    UNSTORABLE_NUMBER = "unstorable_number"
    """NaN, an infinity or an overflowing number, which JSON does not have."""
    TOO_DEEP = "too_deep"
    """Nested deeper than the 254 levels that orjson writes."""


@dataclass(frozen=True, slots=True)
class ReferralVersion:
    """One version of one referral, as received.

    `version` tells versions of one referral apart: the eTag, or `sha256:<content_hash>` where the payload has none (a
    documented list page has none). `updated_ticks` is `updatedDateTime` in 100 ns ticks since 1970, `updated_text` the
    API's own text. `canonical` is the payload as JSON with sorted keys and no white space, `content_hash` the hex
    SHA-256 of that.
    """

    referral_id: str
    version: str
    etag: str | None
    updated_ticks: int
    updated_text: str
    payload: dict[str, Any]
    canonical: str
    content_hash: str


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that breaks the contract.

    `path` is the field at fault, empty for the row as a whole. `payload_text` is the row as JSON, escaped to ASCII so
    that any database can hold it (only for TOO_DEEP it may be cut to the top level's plain values). `fingerprint`, the
    hex SHA-256 of `payload_text`, is the row's identity. `referral_id` is there when it is usable itself.
    """

    reason: Breach
    path: str
    referral_id: str | None
    fingerprint: str
    payload_text: str


class DriftKind(StrEnum):
    """What is unknown."""

    FIELD = "field"
    VALUE = "value"


@dataclass(frozen=True, slots=True, order=True)
class Drift:
    """Something that no document of Microsoft names: a field's name, or the value of a watched enumeration.

    `path` is where, e.g. `details.requirements.solutions[].price`; `[]` stands for any item of a list. `value` is the
    code at that path, empty for a field, whose content is never taken. Neither holds text that a person wrote: what is
    not of the form of a name or a code is `(other)`, what is no text its JSON type in brackets.
    """

    kind: DriftKind
    path: str
    value: str = ""


NewDrift = tuple[Drift, str]
"""Drift that was not seen before, and the id of the first referral that showed it."""


@dataclass(frozen=True, slots=True)
class ScanPage:
    """What one page of the API brought to a scan.

    `versions` and `rejected` hold what this scan had not delivered before (without a filter: what neither the same nor
    the last whole pass had), `drift` what those versions were the first of the scan to show. Every row of the interval
    with `updated_ticks < position` has been delivered once this page is stored, so committing `position` (ticks) with
    the page's rows lets a later scan go on with `resume_from=position`. `fetched` is the number of rows the page held,
    `server_ticks` and `skew_seconds` are the page's (`client.Page`), `seconds_waited` is how long the client paused
    between tries since the page before. On the `last` page the interval is complete and `position` is its end.
    """

    versions: tuple[ReferralVersion, ...]
    rejected: tuple[RejectedRow, ...]
    drift: tuple[NewDrift, ...]
    position: int
    fetched: int
    server_ticks: int
    skew_seconds: float
    seconds_waited: float
    last: bool
