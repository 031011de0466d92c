"""Referrals as plain data on their way from the API into the warehouse.

Not here: reading and checking a payload (`partner_center`), storing it (`warehouse`), what it means (`leads`).
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
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
    UNREADABLE = "unreadable"
    """The server refuses every page that the row is on. There is no payload, only what is known of its place."""


@dataclass(frozen=True, slots=True)
class ReferralVersion:
    """One version of one referral, as received.

    `version` tells versions of one referral apart: the beginning of `content_hash`. The eTag alone does not: a
    documented list page has none, and it may stay the same within a second. `updated_ticks` is `updatedDateTime` in
    100 ns ticks since 1970, `updated_text` the API's own text. `canonical` is the payload as JSON with sorted keys and
    no white space, `content_hash` the hex SHA-256 of that.
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

    `path` is the field with the error, empty for the row as a whole. `payload_text` is the row as JSON, escaped to
    ASCII so that any database can hold it; for TOO_DEEP it may be cut to the plain values of the top level.
    `fingerprint`, the hex SHA-256 of `payload_text`, identifies the row; for UNREADABLE it is that of its place.
    `referral_id` is set when it is usable. `earliest` and `latest` (ticks) are bounds of its `updatedDateTime`, both
    the same where that is known.
    """

    reason: Breach
    path: str
    referral_id: str | None
    fingerprint: str
    payload_text: str
    earliest: int | None = None
    latest: int | None = None


def payload_text(item: object) -> str:
    """Return a row as `RejectedRow.payload_text` holds it. Raises RecursionError for one that is nested too deeply."""
    return json.dumps(item, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)


def fingerprint(text: str) -> str:
    """Return the fingerprint of a row with this `payload_text`."""
    return sha256(text.encode("ascii")).hexdigest()


class DriftKind(StrEnum):
    """What is unknown: a field, or a value of an enumeration."""

    FIELD = "field"
    VALUE = "value"


@dataclass(frozen=True, slots=True, order=True)
class Drift:
    """A field's name, or a value of a watched enumeration, that no document of Microsoft names.

    `path` is its place, such as `details.requirements.solutions[].price`; `[]` is any item of a list. `value` is the
    value at that path, empty for a field: its content is never kept. Neither holds text that a person wrote. Text that
    does not have the form of a name or a code is replaced by `(other)`, and anything else by its JSON type, such as
    `(number)`.
    """

    kind: DriftKind
    path: str
    value: str = ""


NewDrift = tuple[Drift, str]
"""Drift that was not seen before, and the id of the first referral that shows it."""


@dataclass(frozen=True, slots=True)
class ScanPage:
    """What one page of the API adds to a scan.

    `versions` and `rejected` hold what this scan did not deliver before (in a scan without a filter: not in this pass
    or the last whole one), `drift` what those versions are the first in this scan to show. With this page, every row of
    the interval with `updated_ticks < position` is delivered; when `position` (ticks) is committed with the page's
    rows, a later scan can go on with `resume_from=position`. `fetched` is the number of rows in the page,
    `server_ticks` and `skew_seconds` are those of `client.Page`, `seconds_waited` is the sum of the client's pauses
    between tries since the previous page. On the `last` page the interval is complete and `position` is its end.
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

    def referral_ids(self) -> set[str]:
        """Return the ids of the referrals on the page, those of rows that break the contract included."""
        of_rejected = {row.referral_id for row in self.rejected if row.referral_id is not None}
        return {row.referral_id for row in self.versions} | of_rejected
