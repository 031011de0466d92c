"""Writes a scan into the warehouse: each page under its windows, each window closed once the scan has passed it.

The transactions of windows.md, "What a window promises", 4: a page's rows and the scan's position commit
together, closing windows is one more. A crash anywhere leaves an open window and no half row, and the next attempt
goes on from the position.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from partner_center_pipeline.referral import ScanPage
from partner_center_pipeline.warehouse import drift, ledger, referrals
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline.windows import SyncWindow


@dataclass(slots=True)
class WindowIngest:
    """One run's attempt at contiguous windows of one width, in ascending order.

    `figures` holds what each window saw, `statuses` how many new versions had which status.
    """

    warehouse: Warehouse
    windows: Sequence[SyncWindow]
    run_id: str
    clock: Callable[[], datetime]
    figures: dict[SyncWindow, ledger.Figures]
    statuses: Counter[str]
    resume_from: int | None
    lease: Lease | None = None
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
        """Note the attempt. `first` is the start (ticks) of the installation's first window.

        With a `lease`, every transaction stands only if it is still held, and raises LeaseLostError otherwise.

        `resume_from` is the position (ticks) where an earlier attempt stopped, or None; `windows` come out with the
        interval that each answers for.
        """
        with warehouse.write() as connection:
            if lease is not None:
                lease.confirm(connection)
            resolved = ledger.resolve(connection, windows, first)
            position = ledger.start_attempts(connection, resolved, run_id, clock())
        figures = {window: ledger.Figures() for window in resolved}
        return cls(warehouse, resolved, run_id, clock, figures, Counter(), position, lease)

    def write(self, page: ScanPage) -> None:
        """Store a page and the position behind it; close the windows it passed."""
        now = self.clock()
        here = self.windows[self._open]
        placed = [
            referrals.Placed(
                row, self._window_at(row.updated_ticks).start, row.updated_ticks < self.windows[0].covers_from
            )
            for row in page.versions
        ]
        with self._writing() as connection:
            fresh = referrals.store(connection, placed, now)
            referrals.quarantine(connection, page.rejected, here.start, now)
            drift.record(connection, page.drift, now)
            self._count(here, page, placed, fresh)
            changed = self._windows_of(fresh)
            at = self._window_at(page.position)
            reached = [window for window in self.windows[self._open :] if window <= at]
            for window in sorted({here, *reached, *self._windows_of(placed)}):
                position = min(page.position, window.end) if window <= at else None
                reopened = now if window in changed else None
                ledger.save_position(connection, window, self.run_id, self.figures[window], position, reopened)
        self._complete_until(self.windows[-1].end if page.last else page.position)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self.warehouse.write() as connection:
            if self.lease is not None:
                self.lease.confirm(connection)
            yield connection

    def fail(self, error: str, *, incomplete: bool) -> None:
        """End the attempts that are still running."""
        with self.warehouse.write() as connection:
            ledger.fail(connection, self.run_id, self.clock(), error, incomplete=incomplete)

    def total(self) -> ledger.Figures:
        """The figures of all windows together."""
        total = ledger.Figures()
        for figures in self.figures.values():
            total.add(figures)
        return total

    def _window_at(self, ticks: int) -> SyncWindow:
        """The window a row belongs to: by its instant; a late one, which lies before them all, to the first."""
        first = self.windows[0]
        index = (ticks - first.start) // (first.end - first.start)
        return self.windows[min(max(index, 0), len(self.windows) - 1)]

    def _windows_of(self, placed: Iterable[referrals.Placed]) -> dict[SyncWindow, int]:
        """The windows that rows are stored under, and how many under each."""
        counted = Counter(item.window_start for item in placed)
        return {window: counted[window.start] for window in self.windows if window.start in counted}

    def _count(
        self,
        here: SyncWindow,
        page: ScanPage,
        placed: Sequence[referrals.Placed],
        fresh: Sequence[referrals.Placed],
    ) -> None:
        of_page = self.figures[here]
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

    def _complete_until(self, ticks: int) -> None:
        passed = self._open
        while passed < len(self.windows) and self.windows[passed].end <= ticks:
            passed += 1
        if passed > self._open:
            closed = {window: self.figures[window] for window in self.windows[self._open : passed]}
            with self._writing() as connection:
                ledger.complete_windows(connection, closed, self.run_id, self.clock())
            self._open = min(passed, len(self.windows) - 1)
