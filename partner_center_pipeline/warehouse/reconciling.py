"""Compares Partner Center with the warehouse, both ways; loads what is missing; writes table reconciliations.

Not here: fetching (`partner_center.scan`, `partner_center.whole_list`), when it runs (`defs.reconcile`), the windows'
own scans (`window_ingest`).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, or_, select, update

from partner_center_pipeline.referral import ReferralVersion, ScanPage
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import drift, ledger, referrals, vanished
from partner_center_pipeline.warehouse.bulk import among
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline.warehouse.schema import (
    leads,
    quarantined_referrals,
    reconciliations,
    sync_windows,
)
from partner_center_pipeline.windows import SyncWindow, parse_ticks, render_ticks, ticks_of

_ERROR_LENGTH: Final = 2000
_Owner = tuple[SyncWindow, bool]
"""A window, and whether it was closed as complete."""


class Kind(StrEnum):
    """What a comparison reads. Only a full one can find what vanished."""

    FULL = "full"
    """Every referral that the account sees."""
    RECENT = "recent"
    """Those updated in the last day."""


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

    future      new versions with a date in the future, which no window would bring; they are loaded
    cleared     new versions of rows that a window had put into quarantine; they are loaded, and no window missed them
    held        leads that a full comparison looked for
    vanished    those of them that Partner Center shows no more
    marked      those of these that were marked as vanished: all of them, or none because they are too many at once
    unlisted    leads that no list showed, but Partner Center does by their id
    returned    leads that were marked before and are shown again
    """

    until: int
    kind: Kind = Kind.FULL
    pages: int = 0
    fetched: int = 0
    ahead: int = 0
    quarantined: int = 0
    future: int = 0
    cleared: int = 0
    held: int = 0
    vanished: int = 0
    marked: int = 0
    unlisted: int = 0
    returned: int = 0
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
        full = {
            "held": self.held,
            "vanished": self.vanished,
            "marked_as_vanished": self.marked,
            "shown_by_id_only": self.unlisted,
        }
        return {
            "kind": str(self.kind),
            "compared_until": render_ticks(self.until),
            "pages": self.pages,
            "fetched": self.fetched,
            "missing": self.missing,
            "missed_by_complete_windows": self.missed,
            "left_to_windows_to_come": self.ahead,
            "dated_in_the_future": self.future,
            "cleared_from_quarantine": self.cleared,
            "quarantined": self.quarantined,
            "shown_again": self.returned,
            **(full if self.kind is Kind.FULL else {}),
        }


def too_many(vanished: int, held: int) -> str:
    """Return what to do when so many leads vanished at once that none was marked."""
    return (
        f"{vanished} of {held} leads that Partner Center shows no more. That is too many at once to be true, so none "
        "was marked: most likely the account lost its role. Check that it is still Referral Admin for the entire "
        "company (a Referral User sees only its own referrals) and that nobody else signed in (`partner-center "
        "doctor`), then run `partner-center reconcile`. If they are really gone, run it with --accept-vanished."
    )


def until(connection: Connection) -> int | None:
    """Return the end (ticks) of the newest interval that raw_referrals covers, None as long as it covers nothing."""
    covered = ledger.covered(connection, [Asset.RAW_REFERRALS])
    return covered[-1][1] if covered else None


def expected(connection: Connection, *, recent: bool) -> int:
    """Return about how many rows a comparison will fetch: a full one reads each referral twice, a recent one few."""
    if recent:
        return 0
    count: int = connection.execute(select(func.count()).select_from(leads)).scalar_one()
    return 2 * count


@dataclass(slots=True)
class Reconciler:
    """A running comparison. Its row in `reconciliations` exists from the beginning, so a killed one is visible.

    `lag` is the safety lag in ticks: a date further ahead of the server's clock is in the future. Memory does not grow
    with the number of referrals, only with the number of windows that missed some.
    """

    warehouse: Warehouse
    lease: Lease
    clock: Callable[[], datetime]
    number: int
    done: Reconciled
    lag: int = 0

    @classmethod
    def begin(
        cls,
        warehouse: Warehouse,
        lease: Lease,
        end: int,
        clock: Callable[[], datetime],
        *,
        kind: Kind = Kind.FULL,
        lag: int = 0,
    ) -> "Reconciler":
        """Record that a comparison of everything updated before `end` (ticks) begins, by the run that holds `lease`."""
        done = Reconciled(end, kind)
        with warehouse.write() as connection:
            lease.confirm(connection)
            number = connection.execute(
                insert(reconciliations)
                .values(run_id=lease.holder, started_at=clock(), until=end, kind=str(kind), **_figures(done))
                .returning(reconciliations.c.id)
            ).scalar_one()
        return cls(warehouse, lease, clock, number, done, lag)

    def take(self, page: ScanPage) -> None:
        """Compare a page and load what is missing. A page of known rows without new drift causes no write.

        Each missing version is stored under a window with an interval that holds it (`_owners`), for leads to be made
        of; one with a date in the future under the newest window that is done. No window is made, and none is closed.
        A lead that was marked as vanished and is on the page loses the mark.
        """
        after = replace(
            self.done,
            pages=self.done.pages + 1,
            fetched=self.done.fetched + page.fetched,
            quarantined=self.done.quarantined + len(page.rejected),
            gaps=dict(self.done.gaps),
        )
        with self.warehouse.read() as connection:
            missing = referrals.unknown(connection, page.versions, self.clock())
            marked = vanished.marked_among(connection, page.referral_ids())
        if missing or page.rejected or page.drift or marked:
            with self.warehouse.write() as connection:
                self.lease.confirm(connection)
                after.returned += vanished.seen_again(connection, marked, self.clock())
                self._load(connection, missing, page.server_ticks, after)
                drift.record(connection, page.drift, self.clock())
                if page.rejected:
                    referrals.quarantine(connection, page.rejected, _window_at(connection, page), self.clock())
                self._record(connection, after)
        self.done = after

    def _load(
        self, connection: Connection, missing: Sequence[ReferralVersion], server_ticks: int, after: Reconciled
    ) -> None:
        now = self.clock()
        due = [row for row in missing if row.updated_ticks < self.done.until]
        latest = max(server_ticks + self.lag, self.done.until - 1)
        future = [row for row in missing if row.updated_ticks > latest]
        owners = _owners(connection, [row.updated_ticks for row in due])
        cleared = _quarantined_before(connection, due, owners)
        placed = [
            referrals.Placed(row, owners[row.updated_ticks][0].start, late=False)
            for row in due
            if row.updated_ticks in owners
        ]
        after.ahead += len(missing) - len(placed) - len(future)
        for item in referrals.store(connection, placed, now):
            if (item.row.referral_id, item.row.version) in cleared:
                after.cleared += 1
                continue
            owner = owners[item.row.updated_ticks]
            after.gaps[owner] = after.gaps.get(owner, 0) + 1
        if future:
            newest = _newest_done(connection, self.done.until)
            # A correction may be dated up to the lag before the clock that the server shows.
            dated = referrals.dated(connection, future, server_ticks - self.lag)
            placed = [referrals.Placed(row, newest, late=False) for row in dated]
            after.future += len(referrals.store(connection, placed, now))

    # What Partner Center shows no more

    def unseen(self, shows: Callable[[str], bool], *, accept_many: bool) -> list[str]:
        """Return the held leads that a full comparison did not meet, which `shows` tells; none if they are too many.

        `accept_many`: a person says that any number may be gone.
        """
        with self.warehouse.read() as connection:
            self.done.held = vanished.count_held(connection)
        most = self.done.held if accept_many else vanished.limit(self.done.held)
        found: list[str] = []
        for referral_id in vanished.unseen(self.warehouse, shows):
            self.done.vanished += 1
            if len(found) <= most:
                found.append(referral_id)
        return found if self.done.vanished <= most else []

    def mark_vanished(self, unseen: Sequence[str], shows_by_id: Callable[[str], bool]) -> None:
        """Mark those of the unseen leads that Partner Center does not show by their id either."""
        gone = [referral_id for referral_id in unseen if not shows_by_id(referral_id)]
        with self.warehouse.write() as connection:
            self.lease.confirm(connection)
            vanished.mark(connection, gone, self.clock())
        if unseen:
            self.done.unlisted = len(unseen) - len(gone)
            self.done.vanished = self.done.marked = len(gone)

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
        "future": done.future,
        "held": done.held,
        "vanished": done.vanished,
        "marked": done.marked,
        "returned": done.returned,
    }


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


def _newest_done(connection: Connection, until: int) -> int:
    """Return the start (ticks) of the newest closed window that ends at `until`, the end of what is covered."""
    table = sync_windows
    start: int = connection.execute(
        select(func.max(table.c.window_start)).where(table.c.window_end == until, table.c.raw_referrals_at.is_not(None))
    ).scalar_one()
    return start


def _quarantined_before(
    connection: Connection, rows: Sequence[ReferralVersion], owners: dict[int, _Owner]
) -> set[tuple[str, str]]:
    """Return (id, version) of those rows that are in quarantine as they were: their window had met and not missed them.

    `owners` has the windows of the rows.
    """
    if not rows:
        return set()
    table = quarantined_referrals
    starts = {owner.start for owner, _ in owners.values()}
    kept = connection.execute(
        select(table.c.referral_id, table.c.window_start, table.c.payload_text, table.c.last_seen).where(
            or_(
                among(table.c.referral_id, sorted({row.referral_id for row in rows})),
                and_(table.c.referral_id.is_(None), table.c.window_start.in_(sorted(starts))),
            )
        )
    ).all()
    return {
        (row.referral_id, row.version)
        for row in rows
        if row.updated_ticks in owners and any(_was_kept(one, row, owners[row.updated_ticks][0].start) for one in kept)
    }


def _was_kept(kept: Row[Any, Any, Any, Any], row: ReferralVersion, window_start: int) -> bool:
    """Say whether a row of the quarantine is this version, before it came clean.

    It is of the same referral, and was met by the window, or has the same date, or had none when it was last met. A row
    without a usable id has to have both the window and the date.
    """
    date = _date_of(kept.payload_text)
    same_window, same_date = kept.window_start == window_start, date == row.updated_ticks
    if kept.referral_id is None:
        return same_window and same_date
    undated = date is None and row.updated_ticks <= ticks_of(kept.last_seen)
    return kept.referral_id == row.referral_id and (same_window or same_date or undated)


def _date_of(payload_text: str) -> int | None:
    try:
        payload = json.loads(payload_text)
        return parse_ticks(payload["updatedDateTime"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


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
    kind: str
    held: int
    vanished: int
    marked: int
    id: int

    @property
    def too_many_vanished(self) -> bool:
        """Whether so many leads vanished at once that none was marked."""
        return self.vanished > self.marked


def latest(connection: Connection) -> Outcome | None:
    """Return the newest comparison that was finished, or that found a missing version in a complete window.

    One that failed without such a finding proves nothing, so it does not hide an earlier finding. Neither does a recent
    one hide the finding of a full one, as it did not look at the same windows.
    """
    table = reconciliations
    counts = or_(table.c.missed > 0, and_(table.c.finished_at.is_not(None), table.c.error.is_(None)))
    full, recent = (_newest(connection, counts, table.c.kind == kind) for kind in (Kind.FULL, Kind.RECENT))
    if full is None or recent is None or recent.id < full.id:
        return full or recent
    return recent if recent.missed or not full.missed else full


def latest_full(connection: Connection) -> Outcome | None:
    """Return the newest full comparison that went through, which looked for what vanished."""
    table = reconciliations
    return _newest(connection, table.c.kind == Kind.FULL, table.c.finished_at.is_not(None), table.c.error.is_(None))


def _newest(connection: Connection, *which: ColumnElement[bool]) -> Outcome | None:
    table = reconciliations
    columns = (table.c[name.name] for name in fields(Outcome))
    row = connection.execute(select(*columns).where(*which).order_by(table.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else Outcome(**row._mapping)
