"""The payload contract: what must be right about a row before it may enter the warehouse, and nothing more.

Here belongs reading a page's body and telling a referral's version from a row that breaks the contract. What
does not belong here: the meaning of any other field (`leads`), HTTP (`client`), storage (`warehouse`).

The contract is small on purpose (partner_center_api.md, section 3.2): an id, an instant in `updatedDateTime`,
and text that a database can hold. Unknown fields and values, and `ids` as list, object or null, are no
breach.
"""

import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, TypeGuard

import orjson

from partner_center_pipeline.windows import parse_ticks

MAX_KEY_LENGTH: Final = 256
"""Characters of an id or eTag: both are index keys, and PostgreSQL's index rows end below 2,704 bytes."""

_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1


class Breach(StrEnum):
    """How a row breaks the contract."""

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

    `version` tells versions of one referral apart: the eTag, or `sha256:<content_hash>` where the payload has
    none (a documented list page has none). `updated_ticks` is `updatedDateTime` in 100 ns ticks since 1970,
    `updated_text` the API's own text. `canonical` is the payload as JSON with sorted keys and no white space,
    `content_hash` the hex SHA-256 of that.
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
class Rejected:
    """A row that breaks the contract.

    `path` is the field at fault, empty for the row as a whole. `payload_text` is the row as JSON, escaped to
    ASCII so that any database can hold it (only for TOO_DEEP it may be cut to the top level's plain values).
    `fingerprint`, the hex SHA-256 of `payload_text`, is the row's identity. `referral_id` is there when it is
    usable itself.
    """

    reason: Breach
    path: str
    referral_id: str | None
    fingerprint: str
    payload_text: str


def decode(body: bytes) -> Any:
    """The JSON value of an answer's body. Raises ValueError when it is not JSON, a truncated body included.

    orjson refuses a whole page for one lone surrogate, control character, invalid byte or NaN in one row;
    such a page is read again by the tolerant json module, so that `read_referral` can reject the one row.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8-sig", "surrogateescape")
    try:
        # The number hooks give what orjson gives, so that a row's hash does not depend on its neighbours;
        # what JSON does not have becomes a Decimal, which orjson will not write.
        return json.loads(text, strict=False, parse_int=_int, parse_float=_float, parse_constant=Decimal)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_referral(item: object) -> ReferralVersion | Rejected:
    """A row of a page as a version, or why it is none. Never raises for what `decode` gives."""
    try:
        canonical = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return _rejected(item, _why_unwritable(item), "")
    if not isinstance(item, dict):
        return _rejected(item, Breach.NOT_AN_OBJECT, "")
    if b"\\u0000" in canonical and _NUL.search(canonical):
        return _rejected(item, Breach.UNSTORABLE_TEXT, "")
    referral_id = item.get("id")
    if referral_id is None:
        return _rejected(item, Breach.NO_ID, "id")
    if not _is_key(referral_id):
        return _rejected(item, Breach.BAD_ID, "id")
    updated = item.get("updatedDateTime")
    if updated is None:
        return _rejected(item, Breach.NO_UPDATED, "updatedDateTime")
    try:
        ticks = parse_ticks(updated) if isinstance(updated, str) else None
    except ValueError:
        ticks = None
    if ticks is None:
        return _rejected(item, Breach.BAD_UPDATED, "updatedDateTime")
    content_hash = sha256(canonical).hexdigest()
    etag = item.get("eTag")
    if not _is_key(etag):
        etag = None
    return ReferralVersion(
        referral_id=referral_id,
        version=etag or f"sha256:{content_hash}",
        etag=etag,
        updated_ticks=ticks,
        updated_text=updated,
        payload=item,
        canonical=canonical.decode(),
        content_hash=content_hash,
    )


def _is_key(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_KEY_LENGTH and not value.isspace()


def _why_unwritable(item: object) -> Breach:
    try:
        text = json.dumps(item, ensure_ascii=False, default=str)
    except RecursionError:
        return Breach.TOO_DEEP
    try:
        text.encode()
    except UnicodeEncodeError:
        return Breach.UNSTORABLE_TEXT
    try:
        json.dumps(item, allow_nan=False)
    except (TypeError, ValueError):
        return Breach.UNSTORABLE_NUMBER
    return Breach.TOO_DEEP


def _rejected(item: object, reason: Breach, path: str) -> Rejected:
    try:
        text = _ascii_json(item)
    except RecursionError:
        top = item if isinstance(item, dict) else {}
        text = _ascii_json({key: value for key, value in top.items() if not isinstance(value, dict | list)})
    referral_id = item.get("id") if isinstance(item, dict) else None
    return Rejected(
        reason=reason,
        path=path,
        referral_id=referral_id if _is_key(referral_id) and referral_id.isprintable() else None,
        fingerprint=sha256(text.encode("ascii")).hexdigest(),
        payload_text=text,
    )


def _ascii_json(item: object) -> str:
    return json.dumps(item, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)


def _int(digits: str) -> int | float | Decimal:
    # A very long integer cannot be read by int() (CPython's limit) and is beyond a double anyway.
    number = float(digits)
    if not math.isfinite(number):
        return Decimal(digits)
    exact = int(digits)
    return exact if _INT64_MIN <= exact <= _UINT64_MAX else number


def _float(digits: str) -> float | Decimal:
    number = float(digits)
    return number if math.isfinite(number) else Decimal(digits)
