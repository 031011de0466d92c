"""Whatever became of HUNTER_SYNC_START, the width and earlier runs: what is due gets done, and nothing is lost."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, delete, func, select, update

from partner_center_pipeline.defs import window_fetch
from partner_center_pipeline.defs.derivation import Span, make_leads
from partner_center_pipeline.partner_center import ReferralsClient
from partner_center_pipeline.vocabulary import Asset, Task
from partner_center_pipeline.warehouse import ledger, pending, reconciling
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import (
    AttemptState,
    leads,
    pending_work,
    raw_referrals,
    sync_attempts,
    sync_windows,
)
from partner_center_pipeline.warehouse.window_ingest import WindowIngest
from partner_center_pipeline.windows import (
    BEGINNING,
    TICKS_PER_SECOND,
    SyncWindow,
    WindowGrid,
    catch_up,
    datetime_of,
    merge,
    render_ticks,
    ticks_of,
)
from partner_center_pipeline_tests.stateful.in_process import (
    InProcessTransport,
    KilledError,
    SharedClock,
    client_of,
    compare,
    fetch,
)
from partner_center_pipeline_tests.warehouse.pages import make_page, make_version
from partner_center_pipeline_tests.warehouse.test_window_ingest import (
    FIRST,
    GRID,
    NOW,
    W,
    begin,
    finish,
    whole,
    windows,
)
from partner_center_simulator import Simulator, SimulatorClock

DAY = datetime(2026, 3, 1, tzinfo=UTC)
LATER = DAY + timedelta(hours=6)
PAGE = 2


class Stop(IntEnum):
    """Where a run's process is killed."""

    AFTER_A_PAGE = 0
    BEFORE_CLOSING = 1
    AFTER_RAW_REFERRALS = 2
    AFTER_NORMALIZED_LEADS = 3
    NOWHERE = 4


class Mortal(WindowIngest):
    """An ingest whose process dies between a page's transaction and the one that closes what the page passed."""

    def _complete_until(self, ticks: int) -> None:
        raise KilledError

    def fail(self, error: str, **_: Any) -> None:
        """Record nothing: a killed process does not."""


class DiesAfterPage(Mortal):
    """An ingest whose process dies after its first page."""

    def _complete_until(self, ticks: int) -> None:
        WindowIngest._complete_until(self, ticks)
        raise KilledError


DYING = {Stop.AFTER_A_PAGE: DiesAfterPage, Stop.BEFORE_CLOSING: Mortal}


class Installation:
    """A warehouse, the local Microsoft that it copies, and the runs of the chain."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.server: dict[str, int] = {}
        """The `updatedDateTime` of each referral, in ticks."""
        self.microsoft = Simulator(3, LATER, 0, clock=SimulatorClock(LATER, frozen=True))
        self.clock = SharedClock(self.microsoft.clock)
        self.transport = InProcessTransport(self.microsoft)
        with warehouse.write() as connection:
            for table in (raw_referrals, sync_windows, sync_attempts, pending_work, leads):
                connection.execute(delete(table))

    def show(self, referral_id: str, updated: int) -> None:
        """Let the server show a referral from now on, or a newer version of one that it shows."""
        if self.server.get(referral_id, 0) < updated:
            self.server[referral_id] = updated
            at = render_ticks(updated)
            self.microsoft.world.put({"id": referral_id, "createdDateTime": at, "updatedDateTime": at, "eTag": at})

    def due(self, grid: WindowGrid) -> list[tuple[int, int]]:
        """The windows that the sensor requests."""
        with self.warehouse.read() as connection:
            return catch_up(grid, LATER, ledger.covered(connection), busy=())

    def sync(self, grid: WindowGrid) -> None:
        """Do what `partner-center sync` does: what is due, then what is pending in windows that are done."""
        for start, end in self.due(grid):
            self.run(grid, start, end)
        with self.warehouse.read() as connection:
            window = ledger.newest_fetched(connection, grid) if pending.count(connection) else None
        if window is not None:
            self.later_assets([window])

    def run(self, grid: WindowGrid, start: int, end: int, stop: Stop = Stop.NOWHERE) -> None:
        """One run of the chain."""
        with patch.object(window_fetch, "WindowIngest", DYING.get(stop, WindowIngest)), suppress(KilledError):
            ingest = fetch(self.warehouse, self._client(), grid, list(grid.between(start, end)), "run")
            if stop is not Stop.AFTER_RAW_REFERRALS:
                self.later_assets(ingest.windows, stop)

    def later_assets(self, windows: Sequence[SyncWindow], stop: Stop = Stop.NOWHERE) -> None:
        """The assets after raw_referrals; those after normalized_leads only mark the windows."""
        with self.warehouse.read() as connection:
            known = ledger.require(connection, windows, Asset.RAW_REFERRALS)
        make_leads(self.warehouse, Span(known[0].covers_from, known[-1].end), frozenset(), NOW)
        if stop is not Stop.AFTER_NORMALIZED_LEADS:
            finish(self.warehouse, known)

    def reconcile(self, grid: WindowGrid) -> None:
        """Load what the done windows missed."""
        with self.warehouse.read() as connection:
            end = reconciling.until(connection)
        if end is not None:
            compare(self.warehouse, self._client(), self.clock, grid, "reconcile")

    def newest(self, table: Table) -> set[tuple[str, int]]:
        """The newest version of each referral in raw_referrals or leads."""
        columns = table.c.referral_id, func.max(table.c.updated_ticks)
        with self.warehouse.read() as connection:
            rows = connection.execute(select(*columns).group_by(table.c.referral_id))
            return {(referral_id, ticks) for referral_id, ticks in rows}

    def _client(self) -> ReferralsClient:
        return client_of(self.microsoft, self.transport, self.clock, self.warehouse, PAGE)


grids = st.builds(
    lambda minutes, interval: WindowGrid.of(DAY + timedelta(minutes=minutes), interval, 120),
    st.integers(0, 240),
    st.sampled_from([600, 900, 3600]),
)
times = st.integers(-4 * 24 * 6, 6 * 6).map(lambda steps: ticks_of(DAY) + steps * 600 * TICKS_PER_SECOND)
shown = st.lists(st.tuples(st.sampled_from([f"r{number}" for number in range(8)]), times), max_size=6)
"""Referrals that the server shows from some moment on, at whichever instant they were updated: late ones, too."""


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    past=st.lists(st.tuples(shown, grids, st.lists(st.sampled_from(Stop), max_size=3), st.booleans()), max_size=4),
    arrived=shown,
    last=grids,
)
def test_after_any_past_one_sync_and_a_reconcile_have_every_referral_and_then_nothing_is_due(
    warehouse: Warehouse,
    past: list[tuple[list[tuple[str, int]], WindowGrid, list[Stop], bool]],
    arrived: list[tuple[str, int]],
    last: WindowGrid,
) -> None:
    installation = Installation(warehouse)
    for rows, grid, stops, reconciled in past:
        for row in rows:
            installation.show(*row)
        for stop in stops:
            for start, end in installation.due(grid)[:1]:
                installation.run(grid, start, end, stop)
        if reconciled:
            installation.reconcile(grid)
    for row in arrived:
        installation.show(*row)
    installation.sync(last)
    assert installation.due(last) == []
    assert installation.newest(leads) == installation.newest(raw_referrals), "every row that came is a lead"
    installation.reconcile(last)
    installation.sync(last)
    window = last.last_due(LATER)
    assert window is not None
    due = {(referral_id, ticks) for referral_id, ticks in installation.server.items() if ticks < window.end}
    assert installation.newest(leads) == installation.newest(raw_referrals) >= due


@pytest.mark.parametrize("stop", [Stop.AFTER_A_PAGE, Stop.BEFORE_CLOSING])
def test_a_run_of_the_model_that_is_killed_keeps_a_page_and_says_nothing(warehouse: Warehouse, stop: Stop) -> None:
    installation = Installation(warehouse)
    for number in range(5):
        installation.show(f"r{number}", FIRST + number * W + W // 2)
    installation.run(GRID, FIRST, FIRST + 6 * W, stop)
    assert 0 < len(installation.newest(raw_referrals)) <= PAGE
    with warehouse.read() as connection:
        states = set(connection.execute(select(sync_attempts.c.state)).scalars())
        assert AttemptState.RUNNING in states
        assert AttemptState.FAILED not in states
        assert len(ledger.covered(connection, [Asset.RAW_REFERRALS])) == (stop is Stop.AFTER_A_PAGE)


class TestFirstWindow:
    def test_a_start_moved_onto_a_done_window_opens_it_for_the_gap_before_it(self, warehouse: Warehouse) -> None:
        """Else the gap would be asked for, and never closed, for ever."""
        for some in (windows(2), windows(2, first=5)):
            whole(warehouse, some, [], "past")
            finish(warehouse, some)
        moved = FIRST + 5 * W
        ingest = WindowIngest.begin(warehouse, windows(1, first=5), "moved", lambda: NOW, first=moved)
        assert ingest.windows[0].covers_from == FIRST + 2 * W
        assert ingest.resume_from is None
        with warehouse.read() as connection:
            assert ledger.covered(connection) == [(BEGINNING, FIRST + 2 * W), (FIRST + 6 * W, FIRST + 7 * W)]
        ingest.write(make_page([make_version("gap", FIRST + 3 * W)], FIRST + 6 * W, last=True))
        finish(warehouse, ingest.windows)
        with warehouse.read() as connection:
            assert ledger.covered(connection) == [(BEGINNING, FIRST + 7 * W)]
            stored = connection.execute(select(raw_referrals.c.window_start, raw_referrals.c.late)).one()
        assert tuple(stored) == (moved, False)

    def test_rows_of_a_genesis_that_was_given_up_become_leads_under_the_new_first_window(
        self, warehouse: Warehouse
    ) -> None:
        begin(warehouse, windows(1)).write(make_page([make_version("old", FIRST - 5)], FIRST - 5))
        moved = FIRST + 3 * W
        ingest = WindowIngest.begin(warehouse, windows(1, first=3), "moved", lambda: NOW, first=moved)
        ingest.write(make_page([make_version("old", FIRST - 5)], moved + W, last=True))
        with warehouse.read() as connection:
            (known,) = ledger.require(connection, windows(1, first=3), Asset.RAW_REFERRALS)
            assert pending.load(connection, Task.LEADS).items == ["old"]
        assert known.is_genesis

    def test_a_window_that_is_not_the_first_answers_for_itself_only(self, warehouse: Warehouse) -> None:
        with warehouse.read() as connection:
            resolved = ledger.resolve(connection, windows(3), FIRST)
        assert [window.covers_from for window in resolved] == [BEGINNING, FIRST + W, FIRST + 2 * W]


class TestPosition:
    def test_a_range_goes_on_behind_the_windows_it_closed(self, warehouse: Warehouse) -> None:
        ingest = begin(warehouse, windows(4))
        ingest.write(make_page([make_version("a", FIRST), make_version("b", FIRST + 2 * W + 5)], FIRST + 2 * W + 5))
        assert begin(warehouse, windows(4), "again").resume_from == FIRST + 2 * W + 5

    def test_a_run_that_dies_between_a_page_and_closing_what_it_passed_goes_on_too(self, warehouse: Warehouse) -> None:
        ingest = Mortal.begin(warehouse, windows(4), "run", lambda: NOW, first=FIRST)
        with pytest.raises(KilledError):
            ingest.write(make_page([make_version("a", FIRST), make_version("b", FIRST + 2 * W + 5)], FIRST + 2 * W + 5))
        again = begin(warehouse, windows(4), "again")
        assert again.resume_from == FIRST + 2 * W + 5
        again.write(make_page([], FIRST + 4 * W, last=True))
        with warehouse.read() as connection:
            assert ledger.covered(connection, (Asset.RAW_REFERRALS,)) == [(BEGINNING, FIRST + 4 * W)]

    def test_a_window_before_the_position_that_nobody_scanned_is_scanned(self, warehouse: Warehouse) -> None:
        begin(warehouse, windows(1, first=1)).write(make_page([], FIRST + W + 5))
        assert begin(warehouse, windows(2), "both").resume_from is None

    def test_a_window_that_holds_referrals_of_an_earlier_attempt_is_not_empty(self, warehouse: Warehouse) -> None:
        begin(warehouse, windows(1)).write(make_page([make_version("a", FIRST + 1)], FIRST + 1))
        begin(warehouse, windows(1), "again").write(make_page([], FIRST + W, last=True))
        with warehouse.read() as connection:
            states = connection.execute(select(sync_attempts.c.state).order_by(sync_attempts.c.id)).scalars().all()
        assert states == ["failed", "complete"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 12), st.integers(1, 6), st.integers(0, 4), st.sets(st.sampled_from(Asset))),
        max_size=12,
        unique_by=lambda row: (row[0], row[0] + row[1]),
    ),
    asked=st.sets(st.sampled_from(Asset), min_size=1),
)
def test_covered_is_the_union_of_all_rows_intervals_including_equal_ones(
    warehouse: Warehouse, rows: list[tuple[int, int, int, set[Asset]]], asked: set[Asset]
) -> None:
    with warehouse.engine.connect() as connection, connection.begin() as transaction:
        for start, length, back, done in rows:
            connection.execute(
                sync_windows.insert().values(
                    window_start=start,
                    window_end=start + length,
                    covers_from=max(start - back, 0) if back < 4 else BEGINNING,
                    **{f"{asset}_at": NOW for asset in done},
                )
            )
        expected = merge(
            (max(start - back, 0) if back < 4 else BEGINNING, start + length)
            for start, length, back, done in rows
            if asked <= done
        )
        assert ledger.covered(connection, asked) == expected
        transaction.rollback()


def test_progress_counts_what_is_done_since_a_run_began_and_says_what_is_going_on(warehouse: Warehouse) -> None:
    def seen(since: datetime = NOW) -> ledger.Progress:
        with warehouse.read() as connection:
            return ledger.progress(connection, FIRST, FIRST + 2 * W, since)

    assert seen() == ledger.Progress(0, "raw_referrals: 0 rows")
    ingest = begin(warehouse, windows(2))
    ingest.write(make_page([make_version("a", FIRST), make_version("b", FIRST)], FIRST))
    assert seen() == ledger.Progress(0, "raw_referrals: 2 rows")
    ingest.write(make_page([], FIRST + 2 * W, last=True))
    assert seen() == ledger.Progress(2, "normalized_leads")
    finish(warehouse, windows(2))
    assert seen() == ledger.Progress(10, "finishing")
    assert seen(NOW + timedelta(seconds=1)) == ledger.Progress(0, "raw_referrals: 0 rows")


def test_a_window_whose_chain_did_not_end_is_tried_again_and_a_done_one_is_not(warehouse: Warehouse) -> None:
    whole(warehouse, windows(2), [])
    finish(warehouse, windows(1, first=1))
    with warehouse.read() as connection:
        assert ledger.tries(connection, FIRST, FIRST + W, NOW + timedelta(days=1)).count == 1
        assert ledger.tries(connection, FIRST + W, FIRST + 2 * W, NOW) == ledger.Tries(0, None)


def test_the_newest_fetched_window_is_one_of_the_grid(warehouse: Warehouse) -> None:
    hours = WindowGrid.of(DAY, 3600, 120)

    def newest(grid: WindowGrid) -> SyncWindow | None:
        with warehouse.read() as connection:
            return ledger.newest_fetched(connection, grid)

    assert newest(GRID) is None
    whole(warehouse, windows(3), [])
    begin(warehouse, windows(1, first=3))
    assert newest(GRID) == windows(1, first=2)[0]
    assert newest(WindowGrid.of(DAY, 900, 120)) == SyncWindow(
        FIRST + 900 * TICKS_PER_SECOND, FIRST + 3 * W, FIRST + 900 * TICKS_PER_SECOND
    )
    assert newest(hours) is None
    assert newest(WindowGrid.of(DAY + timedelta(minutes=40), 600, 120)) is None, "it is before the first window"
    assert newest(WindowGrid.of(None, 600, 120)) is None


def test_attempts_that_ended_are_not_failed_by_the_next(warehouse: Warehouse) -> None:
    whole(warehouse, windows(1), [], "one")
    begin(warehouse, windows(1), "two").fail("no", incomplete=True)
    begin(warehouse, windows(1), "three")
    with warehouse.write() as connection:
        connection.execute(update(sync_windows).values(position=None))
        states = connection.execute(select(sync_attempts.c.state).order_by(sync_attempts.c.id)).scalars().all()
    assert states == ["empty", "incomplete", "running"]


def test_a_windows_interval_is_told_in_words() -> None:
    assert str(SyncWindow(FIRST, FIRST + W, FIRST)) == "[2026-03-01T00:00:00Z, 2026-03-01T00:10:00Z)"
    assert datetime_of(FIRST) == DAY
