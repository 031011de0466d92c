"""Table quarantined_referrals: reads its rows for people, and replays them.

A row is open until its referral comes clean (a scan receives a valid version of it that is not older, or the same
content is taken in), a replay stores it in raw_referrals, or a person discards it with a reason. Then it stays in the
table, marked with how and when, so that a person can see what became of it; it no longer counts.

Not here: adding rows, and resolving those that come clean (`referrals`), what breaks the contract
(`partner_center.contract`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, select, update

from partner_center_pipeline.referral import Breach, NewDrift, ReferralVersion
from partner_center_pipeline.warehouse import drift, referrals
from partner_center_pipeline.warehouse.schema import Resolution, quarantined_referrals, sync_windows
from partner_center_pipeline.windows import KEY_FORMAT, datetime_of, ticks_of


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of the quarantine without its payload. `window_start` is in ticks, the times are UTC."""

    fingerprint: str
    referral_id: str | None
    reason: str
    path: str
    window_start: int
    first_seen: datetime
    last_seen: datetime
    attempts: int
    earliest_ticks: int | None = None
    latest_ticks: int | None = None
    resolution: str | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    resolved_because: str | None = None

    def shown(self) -> dict[str, Any]:
        """Return the row under the names that people read; no personal data."""
        return {
            "fingerprint": self.fingerprint,
            "referral_id": self.referral_id,
            "reason": self.reason,
            "path": self.path,
            "window": datetime_of(self.window_start).strftime(KEY_FORMAT),
            "first_seen": self.first_seen,
            "last_seen": self.last_seen,
            "attempts": self.attempts,
            "resolution": self.resolution,
            "resolved_at": self.resolved_at,
            "resolved_by": self.resolved_by,
            "resolved_because": self.resolved_because,
        }


_TABLE: Final = quarantined_referrals
_KEPT: Final = [column for column in _TABLE.columns if column.name not in ("payload_text", "erased_at")]


_OPEN: Final = _TABLE.c.resolved_at.is_(None)


def load(connection: Connection, *, resolved: bool = False) -> list[Kept]:
    """Return the open rows, or those that are `resolved`, the newest first."""
    return _kept(connection, ~_OPEN if resolved else _OPEN)


def unreadable(connection: Connection, last_seen_before: datetime, most: int) -> list[Kept]:
    """Return open rows that the server could not send, of which the instant is known, the longest unseen first."""
    rows = connection.execute(
        select(*_KEPT)
        .where(
            _OPEN,
            _TABLE.c.reason == str(Breach.UNREADABLE),
            _TABLE.c.earliest_ticks == _TABLE.c.latest_ticks,
            _TABLE.c.last_seen < last_seen_before,
        )
        .order_by(_TABLE.c.last_seen, _TABLE.c.fingerprint)
        .limit(most)
    )
    return [Kept(**row._mapping) for row in rows]


def named(connection: Connection, prefix: str) -> list[Kept]:
    """Return the rows with a fingerprint that begins with `prefix`."""
    return _kept(connection, _TABLE.c.fingerprint.startswith(prefix.lower(), autoescape=True))


def _kept(connection: Connection, *which: ColumnElement[bool]) -> list[Kept]:
    rows = connection.execute(select(*_KEPT).where(*which).order_by(_TABLE.c.first_seen.desc(), _TABLE.c.fingerprint))
    return [Kept(**row._mapping) for row in rows]


def payload_text(connection: Connection, fingerprint: str) -> str:
    """Return a row's payload as JSON in ASCII. It may hold personal data."""
    text: str = connection.execute(
        select(_TABLE.c.payload_text).where(_TABLE.c.fingerprint == fingerprint)
    ).scalar_one()
    return text


def counts(connection: Connection) -> dict[str, int]:
    """Count the open rows by reason."""
    rows = connection.execute(
        select(_TABLE.c.reason, func.count().label("rows")).where(_OPEN).group_by(_TABLE.c.reason)
    )
    return {row.reason: row.rows for row in rows}


def summary(counts: Mapping[str, int]) -> str | None:
    """Return what `counts` means as a sentence with the next step, None for an empty quarantine."""
    rows = sum(counts.values())
    if not rows:
        return None
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return (
        f"{rows} {'row' if rows == 1 else 'rows'} of Partner Center in quarantine ({reasons}), which became no leads. "
        "Look at them with `partner-center quarantine list` and `show`; take them in with `replay` after a change of "
        "the contract, or `discard` what needs no lead."
    )


def discard(connection: Connection, fingerprints: Sequence[str], by: str, because: str, now: datetime) -> None:
    """Resolve rows that a person wants no lead of; a scan that receives one again does not bring it back."""
    referrals.resolve(connection, fingerprints, Resolution.DISCARDED, now, by, because)


# Replay ---------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Replayed:
    """How many rows a replay loaded, found in raw_referrals and refused again."""

    loaded: int = 0
    known_already: int = 0
    still_refused: int = 0

    def add(self, other: "Replayed") -> None:
        """Add another replay's counts."""
        self.loaded += other.loaded
        self.known_already += other.known_already
        self.still_refused += other.still_refused


@dataclass(frozen=True, slots=True)
class Payload:
    """A row's payload as JSON in ASCII, which may hold personal data, and the reason why it is in quarantine."""

    fingerprint: str
    reason: str
    text: str


def payloads(connection: Connection, fingerprints: Sequence[str]) -> list[Payload]:
    """Return the payloads of these rows, the first seen first."""
    columns = (_TABLE.c.fingerprint, _TABLE.c.reason, _TABLE.c.payload_text)
    rows = connection.execute(
        select(*columns).where(_TABLE.c.fingerprint.in_(fingerprints)).order_by(_TABLE.c.first_seen)
    )
    return [Payload(*row) for row in rows]


def replay(
    connection: Connection,
    reread: Mapping[str, ReferralVersion | Breach],
    found_drift: Iterable[NewDrift],
    now: datetime,
) -> Replayed:
    """Store the rows that pass the contract now. `reread` has by fingerprint the result of today's contract.

    A row that passes is stored under the window that fetched it, for a lead to be made of it, and leaves the
    quarantine as replayed. A version that raw_referrals has is not written again. A row that does not pass stays, with
    today's reason and the same `attempts`, which counts scans. `found_drift` is the drift of the rows that pass. The
    caller's transaction holds all writes, and has read the `payloads` before.
    """
    passed: list[str] = []
    placed: list[referrals.Placed] = []
    columns = (_TABLE.c.fingerprint, _TABLE.c.reason, _TABLE.c.window_start)
    rows = connection.execute(select(*columns).where(_TABLE.c.fingerprint.in_(reread)).order_by(_TABLE.c.first_seen))
    replayed = Replayed()
    for row in rows.all():
        result = reread[row.fingerprint]
        if isinstance(result, Breach):
            replayed.still_refused += 1
            if result != row.reason:
                connection.execute(
                    update(_TABLE).where(_TABLE.c.fingerprint == row.fingerprint).values(reason=str(result))
                )
            continue
        (result,) = referrals.dated(connection, [result], ticks_of(now))
        late = result.updated_ticks < _covered_from(connection, row.window_start)
        placed.append(referrals.Placed(result, row.window_start, late))
        passed.append(row.fingerprint)
    fresh = referrals.store(connection, placed, now)
    drift.record(connection, found_drift, now)
    referrals.resolve(connection, passed, Resolution.REPLAYED, now)
    replayed.loaded = len(fresh)
    replayed.known_already = len(placed) - len(fresh)
    return replayed


def _covered_from(connection: Connection, start: int) -> int:
    """Return where the interval begins that the windows from `start` on answer for (ticks)."""
    table = sync_windows
    query = select(func.min(table.c.covers_from)).where(table.c.window_start == start)
    found: int | None = connection.execute(query).scalar_one()
    return start if found is None else found
