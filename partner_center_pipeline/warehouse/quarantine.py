"""quarantined_referrals, for people: what is kept aside and why, and taking rows back in.

Belongs here: reading the table, and replaying its rows. Not here: putting rows in (`referrals.quarantine`), what breaks
the contract (`partner_center.contract`).

A row stays until a replay takes it in. A newer version of the same referral that came clean does not remove it: the
version that broke the contract is still missing in raw_referrals, and a person decides what that means.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from partner_center_pipeline.referral import Breach, NewDrift, ReferralVersion
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import drift, ledger, referrals
from partner_center_pipeline.warehouse.schema import quarantined_referrals, sync_windows
from partner_center_pipeline.windows import KEY_FORMAT, SyncWindow, datetime_of


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

    def shown(self) -> dict[str, Any]:
        """The row under the names that a person reads; no personal data."""
        return {
            "fingerprint": self.fingerprint,
            "referral_id": self.referral_id,
            "reason": self.reason,
            "path": self.path,
            "window": datetime_of(self.window_start).strftime(KEY_FORMAT),
            "first_seen": self.first_seen,
            "last_seen": self.last_seen,
            "attempts": self.attempts,
        }


_TABLE: Final = quarantined_referrals
_KEPT: Final = [column for column in _TABLE.columns if column.name != "payload_text"]


def load(connection: Connection) -> list[Kept]:
    """All rows, the newest first."""
    return _kept(connection)


def named(connection: Connection, prefix: str) -> list[Kept]:
    """The rows whose fingerprint begins so."""
    return _kept(connection, _TABLE.c.fingerprint.startswith(prefix.lower(), autoescape=True))


def _kept(connection: Connection, *which: ColumnElement[bool]) -> list[Kept]:
    rows = connection.execute(select(*_KEPT).where(*which).order_by(_TABLE.c.first_seen.desc(), _TABLE.c.fingerprint))
    return [Kept(**row._mapping) for row in rows]


def payload_text(connection: Connection, fingerprint: str) -> str:
    """A row's payload as JSON in ASCII. It may hold personal data."""
    found: str = connection.execute(
        select(_TABLE.c.payload_text).where(_TABLE.c.fingerprint == fingerprint)
    ).scalar_one()
    return found


def counts(connection: Connection) -> dict[str, int]:
    """How many rows there are for each reason."""
    rows = connection.execute(select(_TABLE.c.reason, func.count().label("rows")).group_by(_TABLE.c.reason))
    return {row.reason: row.rows for row in rows}


# Replay ---------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Replayed:
    """What became of rows: taken in, known in raw_referrals already, refused still; and windows opened for it."""

    loaded: int = 0
    known_already: int = 0
    still_refused: int = 0
    windows_reopened: int = 0

    def add(self, other: "Replayed") -> None:
        """Take another replay's counts in."""
        self.loaded += other.loaded
        self.known_already += other.known_already
        self.still_refused += other.still_refused
        self.windows_reopened += other.windows_reopened


@dataclass(frozen=True, slots=True)
class Payload:
    """A kept payload as JSON in ASCII, which may hold personal data, and the reason why it is kept."""

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
    """Take in the rows that pass the contract by now: `reread` says by fingerprint what each reads as today.

    What passes is stored under the window that fetched it, and leaves the quarantine; the window is open again for the
    later assets, so that a lead comes of it. A version that raw_referrals knows is not written again. What does not
    pass stays, with today's reason; `attempts` counts scans, so it stays too. `found_drift` is what the rows that pass
    show. All of it is in the caller's transaction, which also read the `payloads`.
    """
    taken: list[str] = []
    placed: list[referrals.Placed] = []
    windows: set[SyncWindow] = set()
    columns = (_TABLE.c.fingerprint, _TABLE.c.reason, _TABLE.c.window_start)
    rows = connection.execute(select(*columns).where(_TABLE.c.fingerprint.in_(reread)).order_by(_TABLE.c.first_seen))
    done = Replayed()
    for row in rows.all():
        found = reread[row.fingerprint]
        if isinstance(found, Breach):
            done.still_refused += 1
            if found != row.reason:
                connection.execute(
                    update(_TABLE).where(_TABLE.c.fingerprint == row.fingerprint).values(reason=str(found))
                )
            continue
        fetched_by = _windows_from(connection, row.window_start)
        windows.update(fetched_by)
        begins = min((window.covers_from for window in fetched_by), default=row.window_start)
        placed.append(referrals.Placed(found, row.window_start, late=found.updated_ticks < begins))
        taken.append(row.fingerprint)
    fresh = referrals.store(connection, placed, now)
    drift.record(connection, found_drift, now)
    changed = {item.window_start for item in fresh}
    for window in windows:
        if window.start in changed:
            ledger.reopen(connection, window, Asset.RAW_REFERRALS, now)
            done.windows_reopened += 1
    connection.execute(delete(_TABLE).where(_TABLE.c.fingerprint.in_(taken)))
    done.loaded = len(fresh)
    done.known_already = len(placed) - len(fresh)
    return done


def _windows_from(connection: Connection, start: int) -> list[SyncWindow]:
    """The windows that begin there; of more than one width where the interval was changed."""
    rows = connection.execute(select(sync_windows).where(sync_windows.c.window_start == start))
    return [SyncWindow(row.window_start, row.window_end, row.covers_from) for row in rows]
