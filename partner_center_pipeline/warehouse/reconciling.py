"""Compares what Partner Center has with raw_referrals, loads what is missing, and keeps the outcome in reconciliations.

Belongs here: comparing a page, which window should have brought a missing version, the record of a comparison. Not
here: fetching (`partner_center.scan`), when and how often (`defs.reconcile`), the windows' own scans (`ingest`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from partner_center_pipeline.referral import ReferralVersion, ScanPage
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import drift, ledger, referrals
from partner_center_pipeline.warehouse.bulk import present
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline.warehouse.schema import (
    leads,
    raw_referrals,
    reconciliations,
    sync_windows,
)
from partner_center_pipeline.windows import SyncWindow, render_ticks

_ERROR_LENGTH: Final = 2000
_Owner = tuple[SyncWindow, bool]
"""A window, and whether it claimed to be complete."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A window and how many versions of its interval were missing; `claimed` when it said to be complete."""

    window: str
    interval: str
    missing: int
    claimed: bool

    def row(self) -> dict[str, Any]:
        """As it is kept in `reconciliations`."""
        return {
            "window": self.window,
            "interval": self.interval,
            "missing": self.missing,
            "claimed_complete": self.claimed,
        }


@dataclass(slots=True)
class Reconciled:
    """What a comparison saw: `missing` versions were loaded, `missed` of them by windows that claimed to be complete.

    `ahead` counts versions that lie in no window that was begun: theirs are still to come, so they are left alone.
    `until` is the end, in ticks, of what was compared.
    """

    until: int
    pages: int = 0
    fetched: int = 0
    ahead: int = 0
    quarantined: int = 0
    gaps: dict[_Owner, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Versions that the warehouse did not have, of windows that were begun."""
        return sum(self.gaps.values())

    @property
    def missed(self) -> int:
        """Those of windows that claimed to be complete."""
        return sum(count for (_, claimed), count in self.gaps.items() if claimed)

    def windows(self) -> list[Gap]:
        """The windows with missing versions, in order."""
        return [
            Gap(window.key, str(window), count, claimed)
            for (window, claimed), count in sorted(self.gaps.items(), key=lambda pair: pair[0])
        ]

    def shown(self) -> dict[str, Any]:
        """The counts under the names that a person reads."""
        return {
            "compared_until": render_ticks(self.until),
            "pages": self.pages,
            "fetched": self.fetched,
            "missing": self.missing,
            "missed_by_complete_windows": self.missed,
            "left_to_windows_to_come": self.ahead,
            "quarantined": self.quarantined,
        }


def until(connection: Connection) -> int | None:
    """The end (ticks) of the newest interval that raw_referrals covers, None while it covers nothing."""
    covered = ledger.covered(connection, [Asset.RAW_REFERRALS])
    return covered[-1][1] if covered else None


def expected(connection: Connection) -> int:
    """About how many rows a comparison will fetch: the API shows each referral once."""
    count: int = connection.execute(select(func.count()).select_from(leads)).scalar_one()
    return count


@dataclass(slots=True)
class Reconciler:
    """One comparison under way. Its row in `reconciliations` is there from the beginning, so a killed one shows.

    Memory does not grow with the referrals, only with the windows that missed some.
    """

    warehouse: Warehouse
    lease: Lease
    clock: Callable[[], datetime]
    number: int
    done: Reconciled

    @classmethod
    def begin(cls, warehouse: Warehouse, lease: Lease, end: int, clock: Callable[[], datetime]) -> "Reconciler":
        """Note that a comparison of everything updated before `end` (ticks) begins; the lease names the run."""
        done = Reconciled(end)
        with warehouse.write() as connection:
            lease.confirm(connection)
            number = connection.execute(
                insert(reconciliations)
                .values(run_id=lease.holder, started_at=clock(), until=end, **_figures(done))
                .returning(reconciliations.c.id)
            ).scalar_one()
        return cls(warehouse, lease, clock, number, done)

    def take(self, page: ScanPage) -> None:
        """Compare a page, and load what is missing. A page of known rows without new drift is read only.

        Each missing version is stored under the window whose interval holds it, one that claimed to be complete before
        others; that window is open again for the later assets. No window is made, and none is closed.
        """
        after = replace(
            self.done,
            pages=self.done.pages + 1,
            fetched=self.done.fetched + page.fetched,
            quarantined=self.done.quarantined + len(page.rejected),
            gaps=dict(self.done.gaps),
        )
        with self.warehouse.read() as connection:
            missing = _unknown(connection, page.versions)
        if missing or page.rejected or page.drift:
            with self.warehouse.write() as connection:
                self.lease.confirm(connection)
                self._load(connection, missing, after)
                drift.record(connection, page.drift, self.clock())
                if page.rejected:
                    referrals.quarantine(connection, page.rejected, _window_near(connection, page), self.clock())
                self._keep(connection, after)
        self.done = after

    def _load(self, connection: Connection, missing: Sequence[ReferralVersion], after: Reconciled) -> None:
        now = self.clock()
        owners = _owners(connection, [row.updated_ticks for row in missing])
        placed = [
            referrals.Placed(row, owners[row.updated_ticks][0].start, late=False)
            for row in missing
            if row.updated_ticks in owners
        ]
        after.ahead += len(missing) - len(placed)
        fresh = referrals.store(connection, placed, now)
        for item in fresh:
            owner = owners[item.row.updated_ticks]
            after.gaps[owner] = after.gaps.get(owner, 0) + 1
        for window in {owners[item.row.updated_ticks][0] for item in fresh}:
            ledger.reopen(connection, window, Asset.RAW_REFERRALS, now)

    def finish(self) -> None:
        """Everything was compared."""
        with self.warehouse.write() as connection:
            self._keep(connection, self.done, finished_at=self.clock())

    def fail(self, error: str) -> None:
        """It ended early: what was loaded stays, the rest was not compared."""
        with self.warehouse.write() as connection:
            self._keep(connection, self.done, finished_at=self.clock(), error=error[:_ERROR_LENGTH])

    def _keep(self, connection: Connection, done: Reconciled, **more: Any) -> None:
        table = reconciliations
        connection.execute(update(table).where(table.c.id == self.number).values(**_figures(done), **more))


def _figures(done: Reconciled) -> dict[str, Any]:
    return {
        "pages": done.pages,
        "fetched": done.fetched,
        "missing": done.missing,
        "missed": done.missed,
        "quarantined": done.quarantined,
        "windows": [gap.row() for gap in done.windows()],
    }


def _unknown(connection: Connection, versions: Sequence[ReferralVersion]) -> list[ReferralVersion]:
    """Those that raw_referrals does not hold, by (id, eTag)."""
    known = present(connection, raw_referrals, {(row.referral_id, row.version) for row in versions})
    return [row for row in versions if (row.referral_id, row.version) not in known]


def _owners(connection: Connection, instants: Sequence[int]) -> dict[int, _Owner]:
    """For each instant (ticks) the window that answers for it, and whether that claimed to be complete.

    Windows overlap where the interval or the start of the grid was changed: one that claimed to be complete counts
    before others, then the one whose interval begins last. An instant without a window is left out.
    """
    if not instants:
        return {}
    table = sync_windows
    rows = connection.execute(
        select(table.c.window_start, table.c.window_end, table.c.covers_from, table.c.raw_referrals_at).where(
            table.c.covers_from <= max(instants), table.c.window_end > min(instants)
        )
    ).all()
    found: dict[int, _Owner] = {}
    for at in set(instants):
        holding = [row for row in rows if row.covers_from <= at < row.window_end]
        if holding:
            best = max(holding, key=lambda row: (row.raw_referrals_at is not None, row.covers_from, row.window_start))
            found[at] = (
                SyncWindow(best.window_start, best.window_end, best.covers_from),
                best.raw_referrals_at is not None,
            )
    return found


def _window_near(connection: Connection, page: ScanPage) -> int:
    """Under which window a page's broken rows are kept, whose own instant may be unreadable: that of its position."""
    table = sync_windows
    after = select(func.min(table.c.window_start)).where(table.c.window_end >= page.position)
    newest = select(func.max(table.c.window_start))
    start: int = connection.execute(
        select(func.coalesce(after.scalar_subquery(), newest.scalar_subquery()))
    ).scalar_one()
    return start


# Reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """A comparison as it was kept; the figures are those of `Reconciled`. Times are UTC, `until` is in ticks."""

    run_id: str
    started_at: datetime
    finished_at: datetime | None
    until: int
    fetched: int
    missing: int
    missed: int
    windows: list[dict[str, Any]]
    error: str | None


def latest(connection: Connection) -> Outcome | None:
    """The newest comparison that proves something: it went through, or it found a complete window that missed a row.

    One that failed without a finding proves nothing, so it does not hide what the one before found.
    """
    table = reconciliations
    row = connection.execute(
        select(*(table.c[name.name] for name in fields(Outcome)))
        .where(or_(table.c.missed > 0, and_(table.c.finished_at.is_not(None), table.c.error.is_(None))))
        .order_by(table.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Outcome(**row._mapping)
