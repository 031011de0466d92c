"""Instants as the Referrals API prints them, counted in ticks of 100 nanoseconds since 1970 (UTC).

The simulator has code of its own for this: with the pipeline's code it would repeat the pipeline's mistakes.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

TICKS_PER_SECOND: Final = 10_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK_DIGITS: Final = 7
_PRINTED: Final = re.compile(
    r"(?P<seconds>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,7}))?(?:Z|[+-]00:00)", re.ASCII | re.IGNORECASE
)


def parse_ticks(text: str) -> int:
    """Read an instant such as `2026-01-31T09:30:00.1234567Z`.

    Returns its ticks. Raises ValueError for any other text, one with an offset other than UTC included.
    """
    printed = _PRINTED.fullmatch(text)
    if printed is None:
        raise ValueError(f"not an instant in UTC: {text[:40]!r}")
    seconds = datetime.fromisoformat(printed["seconds"].upper()).replace(tzinfo=UTC)
    return ticks_of(seconds) + int((printed["fraction"] or "0").ljust(_TICK_DIGITS, "0"))


def ticks_or_none(value: object) -> int | None:
    """Return the ticks of an instant in a row, None where it is null or no instant."""
    try:
        return parse_ticks(value) if isinstance(value, str) else None
    except ValueError:
        return None


def render_ticks(ticks: int) -> str:
    """Print ticks as the API does: without zeros at the end of the fraction, and without a fraction of zero."""
    seconds, rest = divmod(ticks, TICKS_PER_SECOND)
    whole = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    fraction = f"{rest:0{_TICK_DIGITS}d}".rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"


def ticks_of(moment: datetime) -> int:
    """Return the ticks of an aware datetime."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 10


def datetime_of(ticks: int) -> datetime:
    """Return the aware UTC datetime of ticks, rounded down to microseconds."""
    return _EPOCH + timedelta(microseconds=ticks // 10)
