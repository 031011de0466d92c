"""Compares Partner Center's versions with raw_referrals, loads missing ones, and records it in table reconciliations.

Not here: fetching (`partner_center.scan`), when it runs (`defs.reconcile`), the windows' own scans (`window_ingest`).
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
from partner_center_pipeline.warehouse.schema import leads, raw_referrals, reconciliations, sync_windows
from partner_center_pipeline.windows import SyncWindow, render_ticks

_ERROR_LENGTH: Final = 2000
_Owner = tuple[SyncWindow, bool]
"""A window, and whether it was closed as complete."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A window and how many versions of its interval were missing; `claimed` when it was closed as complete."""

    window: str
    interval: str
    missing: int
    claimed: bool

    def row(self) -> dict[str, Any]:
        """Return the gap as it is stored in `reconciliations`."""
        return {
            "window": self.window,
            "interval": self.interval,
            "missing": self.missing,
            "claimed_complete": self.claimed,
        }


@dataclass(slots=True)
class Reconciled:
    """The figures of a comparison: `missing` versions were loaded; `missed` of them are of windows closed as complete.

    `ahead` counts versions in no window that was begun: a later window will bring them, so they are not stored.
    `until` is the end, in ticks, of the interval that was compared.
    """

    until: int
    pages: int = 0
    fetched: int = 0
    ahead: int = 0
    quarantined: int = 0
    gaps: dict[_Owner, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """The number of versions in windows that were begun, which the warehouse did not have."""
        return sum(self.gaps.values())

    @property
    def missed(self) -> int:
        """The number of missing versions in windows that were closed as complete."""
        return sum(count for (_, claimed), count in self.gaps.items() if claimed)

    def windows(self) -> list[Gap]:
        """Return the windows with missing versions, in order."""
        return [
            Gap(window.key, str(window), count, claimed)
            for (window, claimed), count in sorted(self.gaps.items(), key=lambda pair: pair[0])
        ]

    def shown(self) -> dict[str, Any]:
        """Return the counts under the names that people read."""
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
    """Return the end (ticks) of the newest interval that raw_referrals covers, None as long as it covers nothing."""
    covered = ledger.covered(connection, [Asset.RAW_REFERRALS])
    return covered[-1][1] if covered else None


def expected(connection: Connection) -> int:
    """Return about how many rows a comparison will fetch: the API lists each referral once."""
    count: int = connection.execute(select(func.count()).select_from(leads)).scalar_one()
    return count


@dataclass(slots=True)
class Reconciler:
    """A running comparison. Its row in `reconciliations` exists from the beginning, so a killed one is visible.

    Memory does not grow with the number of referrals, only with the number of windows that missed some.
    """

    warehouse: Warehouse
    lease: Lease
    clock: Callable[[], datetime]
    number: int
    done: Reconciled

    @classmethod
    def begin(cls, warehouse: Warehouse, lease: Lease, end: int, clock: Callable[[], datetime]) -> "Reconciler":
        """Record that a comparison of everything updated before `end` (ticks) begins, by the run that holds `lease`."""
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
        """Compare a page and load what is missing. A page of known rows without new drift causes no write.

        Each missing version is stored under a window with an interval that holds it (`_owners`), for leads to be made
        of. No window is made, and none is closed.
        """
        after = replace(
            self.done,
            pages=self.done.pages + 1,
            fetched=self.done.fetched + page.fetched,
            quarantined=self.done.quarantined + len(page.rejected),
            gaps=dict(self.done.gaps),
        )
        with self.warehouse.read() as connection:
            missing = _missing(connection, page.versions)
        if missing or page.rejected or page.drift:
            with self.warehouse.write() as connection:
                self.lease.confirm(connection)
                self._load(connection, missing, after)
                drift.record(connection, page.drift, self.clock())
                if page.rejected:
                    referrals.quarantine(connection, page.rejected, _window_at(connection, page), self.clock())
                self._record(connection, after)
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

    def finish(self) -> None:
        """Record that everything was compared."""
        with self.warehouse.write() as connection:
            self._record(connection, self.done, finished_at=self.clock())

    def fail(self, error: str) -> None:
        """Record that the comparison ended early. What was loaded stays; the rest was not compared."""
        with self.warehouse.write() as connection:
            self._record(connection, self.done, finished_at=self.clock(), error=error[:_ERROR_LENGTH])

    def _record(self, connection: Connection, done: Reconciled, **more: Any) -> None:
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


def _missing(connection: Connection, versions: Sequence[ReferralVersion]) -> list[ReferralVersion]:
    """Return the versions that raw_referrals does not hold, by (id, version)."""
    known = present(connection, raw_referrals, {(row.referral_id, row.version) for row in versions})
    return [row for row in versions if (row.referral_id, row.version) not in known]


def _owners(connection: Connection, instants: Sequence[int]) -> dict[int, _Owner]:
    """Return for each instant (ticks) the window that answers for it, and whether it was closed as complete.

    Windows overlap where the width or the start of the grid was changed. Then a window that was closed as complete
    comes first, and among these the one with the latest `covers_from`. An instant without a window is left out.
    """
    if not instants:
        return {}
    table = sync_windows
    rows = connection.execute(
        select(table.c.window_start, table.c.window_end, table.c.covers_from, table.c.raw_referrals_at).where(
            table.c.covers_from <= max(instants), table.c.window_end > min(instants)
        )
    ).all()
    owners: dict[int, _Owner] = {}
    for ticks in set(instants):
        holding = [row for row in rows if row.covers_from <= ticks < row.window_end]
        if holding:
            best = max(holding, key=lambda row: (row.raw_referrals_at is not None, row.covers_from, row.window_start))
            owners[ticks] = (
                SyncWindow(best.window_start, best.window_end, best.covers_from),
                best.raw_referrals_at is not None,
            )
    return owners


def _window_at(connection: Connection, page: ScanPage) -> int:
    """Return the start of the window at the page's position: a broken row's own instant may be unreadable."""
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
    """A recorded comparison with the figures of `Reconciled`. Times are UTC, `until` is in ticks."""

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
    """Return the newest comparison that was finished, or that found a missing version in a complete window.

    One that failed without such a finding proves nothing, so it does not hide an earlier finding.
    """
    table = reconciliations
    row = connection.execute(
        select(*(table.c[name.name] for name in fields(Outcome)))
        .where(or_(table.c.missed > 0, and_(table.c.finished_at.is_not(None), table.c.error.is_(None))))
        .order_by(table.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else Outcome(**row._mapping)
