"""Writes a scan into the warehouse: stores each page under its windows, and closes windows that the scan has passed.

A page's rows and the scan's position commit together; closing windows is one more transaction. After a crash the window
is open without a half page, and the next attempt goes on from the position (windows.md, "What a window promises", 4).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from partner_center_pipeline.referral import Breach, RejectedRow, ScanPage
from partner_center_pipeline.warehouse import drift, ledger, referrals, vanished
from partner_center_pipeline.warehouse.bulk import take_statistics_after
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline.warehouse.schema import pending_work, raw_referrals
from partner_center_pipeline.windows import LATENESS_PERIOD, TICKS_PER_SECOND, SyncWindow, widened_overlap


@dataclass(slots=True)
class WindowIngest:
    """One run's attempt at contiguous windows of one width, in ascending order.

    `figures` are the attempt's figures by window. `statuses` counts the new versions by status of the referral.
    `overlap_seconds` is the overlap that the scan uses, once `overlap` was asked.
    """

    warehouse: Warehouse
    windows: Sequence[SyncWindow]
    run_id: str
    clock: Callable[[], datetime]
    figures: dict[SyncWindow, ledger.Figures]
    statuses: Counter[str]
    resume_from: int | None
    lease: Lease | None = None
    overlap_seconds: int | None = None
    _open: int = 0

    @classmethod
    def begin(
        cls,
        warehouse: Warehouse,
        windows: Sequence[SyncWindow],
        run_id: str,
        clock: Callable[[], datetime],
        first: int,
        lease: Lease | None = None,
    ) -> "WindowIngest":
        """Record the attempt. `first` is the start (ticks) of the installation's first window.

        With a `lease`, every transaction confirms it, and raises LeaseLostError when another run holds it. In the
        result, `resume_from` is the position (ticks) where an earlier attempt stopped, or None, and each of `windows`
        has the interval that it answers for.
        """
        with warehouse.write() as connection:
            if lease is not None:
                lease.confirm(connection)
            resolved = ledger.resolve(connection, windows, first)
            position = ledger.start_attempts(connection, resolved, run_id, clock())
        figures = {window: ledger.Figures() for window in resolved}
        return cls(warehouse, resolved, run_id, clock, figures, Counter(), position, lease)

    def overlap(self, configured: int) -> int:
        """Return the overlap of the scan in ticks: `configured` (seconds), wider while versions come late."""
        with self.warehouse.read() as connection:
            latest = ledger.latest_late(connection, self.clock() - LATENESS_PERIOD)
        self.overlap_seconds = widened_overlap(configured, latest)
        return self.overlap_seconds * TICKS_PER_SECOND

    def write(self, page: ScanPage) -> None:
        """Store a page and the scan's position after it; close the windows that it passed."""
        now = self.clock()
        current = self.windows[self._open]
        placed = [
            referrals.Placed(
                row, self._window_at(row.updated_ticks).start, row.updated_ticks < self.windows[0].covers_from
            )
            for row in page.versions
        ]
        with self._writing() as connection:
            kept = referrals.kept(connection)
            fresh = referrals.store(connection, placed, now, kept)
            if kept.is_any_vanished:
                vanished.seen_again(connection, page.referral_ids(), now)
            self._note_late(connection, fresh)
            for start, rejected in self._rejected_by_window(page).items():
                referrals.quarantine(connection, rejected, start, now)
            drift.record(connection, page.drift, now)
            self._count(current, page, placed, fresh)
            last_reached = self._window_at(page.position)
            reached = [window for window in self.windows[self._open :] if window <= last_reached]
            for window in sorted({current, *reached, *self._windows_of(placed)}):
                position = min(page.position, window.end) if window <= last_reached else None
                ledger.save_position(connection, window, self.run_id, self.figures[window], position)
        self._complete_until(self.windows[-1].end if page.last else page.position)
        if page.last:
            take_statistics_after(self.warehouse, self.total().new_versions, raw_referrals, pending_work)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self.warehouse.write() as connection:
            if self.lease is not None:
                self.lease.confirm(connection)
            yield connection

    def fail(
        self,
        error: str,
        *,
        incomplete: bool,
        clock_skew: float | None = None,
        disabled: bool = False,
        refused: bool = False,
    ) -> None:
        """End the attempts that are still running; as `ledger.fail` does."""
        with self.warehouse.write() as connection:
            ledger.fail(
                connection,
                self.run_id,
                self.clock(),
                error,
                incomplete=incomplete,
                clock_skew=clock_skew,
                disabled=disabled,
                refused=refused,
            )

    def leave_out_after(self, count: int, error: str, clock_skew: float | None) -> None:
        """Go on with the first `count` windows; the attempts at the others are failed. Nothing was scanned so far."""
        left_out = self.windows[count:]
        with self.warehouse.write() as connection:
            ledger.fail(
                connection,
                self.run_id,
                self.clock(),
                error,
                from_start=left_out[0].start,
                clock_skew=clock_skew,
            )
        self.windows = self.windows[:count]
        for window in left_out:
            del self.figures[window]

    def total(self) -> ledger.Figures:
        """Return the sum of all windows' figures."""
        total = ledger.Figures()
        for figures in self.figures.values():
            total.add(figures)
        return total

    def _window_at(self, ticks: int) -> SyncWindow:
        """Return the window that holds an instant; for a late row, which is before them all, the first window."""
        first = self.windows[0]
        index = (ticks - first.start) // (first.end - first.start)
        return self.windows[min(max(index, 0), len(self.windows) - 1)]

    def _rejected_by_window(self, page: ScanPage) -> dict[int, list[RejectedRow]]:
        """Return rejected rows by the window (start) that keeps them: the open one, but an unreadable row's own."""
        by_window: dict[int, list[RejectedRow]] = {}
        for row in page.rejected:
            unreadable = row.reason is Breach.UNREADABLE and row.earliest is not None and row.earliest == row.latest
            window = self._window_at(row.earliest) if unreadable and row.earliest else self.windows[self._open]
            by_window.setdefault(window.start, []).append(row)
        return by_window

    def _windows_of(self, placed: Iterable[referrals.Placed]) -> dict[SyncWindow, int]:
        """Count the rows by the window that they are stored under."""
        counted = Counter(item.window_start for item in placed)
        return {window: counted[window.start] for window in self.windows if window.start in counted}

    def _count(
        self,
        current: SyncWindow,
        page: ScanPage,
        placed: Sequence[referrals.Placed],
        fresh: Sequence[referrals.Placed],
    ) -> None:
        of_page = self.figures[current]
        of_page.pages += 1
        of_page.quarantined += len(page.rejected)
        of_page.fetched += page.fetched - len(placed)
        of_page.seconds_waited += page.seconds_waited
        for window, count in self._windows_of(placed).items():
            self.figures[window].fetched += count
            self.figures[window].unchanged += count
        for window, count in self._windows_of(fresh).items():
            self.figures[window].unchanged -= count
            self.figures[window].new_versions += count
        for window, count in self._windows_of(item for item in fresh if item.late).items():
            self.figures[window].late += count
        self.statuses.update(str(item.row.payload.get("status")) for item in fresh)
        for figures in self.figures.values():
            figures.clock_skew = page.skew_seconds

    def _note_late(self, connection: Connection, fresh: Sequence[referrals.Placed]) -> None:
        """Keep how late the latest late version came. One whose own window was not fetched before is not late."""
        late = [item.row.updated_ticks for item in fresh if item.late]
        if late:
            fetched = ledger.fetched_between(connection, min(late), max(late))
            first = self.windows[0]
            for ticks in late:
                if any(low <= ticks < high for low, high in fetched):
                    self.figures[first].note_late((first.covers_from - ticks) / TICKS_PER_SECOND)

    def _complete_until(self, ticks: int) -> None:
        passed = self._open
        while passed < len(self.windows) and self.windows[passed].end <= ticks:
            passed += 1
        if passed > self._open:
            closed = {window: self.figures[window] for window in self.windows[self._open : passed]}
            with self._writing() as connection:
                ledger.complete_windows(connection, closed, self.run_id, self.clock())
            self._open = min(passed, len(self.windows) - 1)
