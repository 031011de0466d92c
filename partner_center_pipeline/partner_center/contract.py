"""The payload contract: what must be right about a row before it may enter the warehouse.

It asks for an id, an instant in `updatedDateTime`, and text and numbers that a database can hold, and for nothing else
(partner_center_api.md, section 3.2). Unknown fields and values are no breach.

Not here: the meaning of any other field (`leads`), unknown fields (`schema_drift`), HTTP (`client`), storage
(`warehouse`).
"""

import json
import math
import re
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, TypeGuard

import orjson

from partner_center_pipeline.referral import Breach, ReferralVersion, RejectedRow, fingerprint, payload_text
from partner_center_pipeline.windows import parse_ticks

MAX_KEY_LENGTH: Final = 256
"""Characters of an id or eTag. An id is an index key, and PostgreSQL's index rows end below 2,704 bytes."""

VERSION_LENGTH: Final = 32
"""Characters of the hex SHA-256 that are a version: 128 bits."""

_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1

NOT_AS_SENT: Final = frozenset({Breach.UNSTORABLE_NUMBER, Breach.TOO_DEEP, Breach.UNREADABLE})
"""Breaches for which `RejectedRow.payload_text` is not the row as sent: it holds a number as text, parts
are cut, or there is no payload."""


def decode(body: bytes) -> Any:
    """Return the JSON value of an answer's body. Raises ValueError when it is not JSON, or cut off.

    orjson refuses a whole page for one lone surrogate, control character, invalid byte or NaN. Then the more tolerant
    json module reads it, so that `read_referral` can reject the one row.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8-sig", "surrogateescape")
    try:
        # The hooks return the same numbers as orjson, so that a row's hash does not depend on the other rows of its
        # page. Numbers that JSON does not have become a Decimal, which orjson refuses to write.
        return json.loads(text, strict=False, parse_int=_int, parse_float=_float, parse_constant=Decimal)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_referral(item: object) -> ReferralVersion | RejectedRow:
    """Return a page's row as a version, or the reason why it is rejected. Never raises for what `decode` returns.

    An item that is a RejectedRow already stands for a row that the server cannot send (`isolation`).
    """
    if isinstance(item, RejectedRow):
        return item
    try:
        canonical = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return _rejected(item, _reason_unwritable(item), "")
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
    ticks = _instant(item)
    if ticks is None:
        return _rejected(item, Breach.BAD_UPDATED, "updatedDateTime")
    content_hash = sha256(canonical).hexdigest()
    etag = item.get("eTag")
    if not _is_key(etag):
        etag = None
    return ReferralVersion(
        referral_id=referral_id,
        version=content_hash[:VERSION_LENGTH],
        etag=etag,
        updated_ticks=ticks,
        updated_text=updated,
        payload=item,
        canonical=canonical.decode(),
        content_hash=content_hash,
    )


def reread(payload_text: str, reason: str) -> ReferralVersion | Breach:
    """Read a quarantined row with today's contract: return its version, or the reason why it is still rejected.

    `payload_text` and `reason` are those of its `RejectedRow`. A row in `NOT_AS_SENT` keeps its reason, because its
    text is not what Microsoft sent; a reconcile fetches the original. Never raises for what `RejectedRow` holds.
    """
    if reason in NOT_AS_SENT:
        return Breach(reason)
    try:
        row = read_referral(decode(payload_text.encode()))
    except ValueError:
        return Breach.TOO_DEEP
    return row.reason if isinstance(row, RejectedRow) else row


def _is_key(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_KEY_LENGTH and not value.isspace()


def _reason_unwritable(item: object) -> Breach:
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


def _rejected(item: object, reason: Breach, path: str) -> RejectedRow:
    try:
        text = payload_text(item)
    except RecursionError:
        top = item if isinstance(item, dict) else {}
        text = payload_text({key: value for key, value in top.items() if not isinstance(value, dict | list)})
    referral_id = item.get("id") if isinstance(item, dict) else None
    ticks = _instant(item)
    return RejectedRow(
        reason=reason,
        path=path,
        referral_id=referral_id if _is_key(referral_id) and referral_id.isprintable() else None,
        fingerprint=fingerprint(text),
        payload_text=text,
        earliest=ticks,
        latest=ticks,
    )


def _instant(item: object) -> int | None:
    """Return a row's `updatedDateTime` in ticks, None where there is none that can be read."""
    updated = item.get("updatedDateTime") if isinstance(item, dict) else None
    try:
        return parse_ticks(updated) if isinstance(updated, str) else None
    except ValueError:
        return None


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
