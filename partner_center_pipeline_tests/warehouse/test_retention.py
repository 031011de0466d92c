"""Old attempts become sums of days, and old versions of closed referrals go; nothing that is asked for is lost."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import leads, ledger, pending, referrals, retention
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.ledger import Figures
from partner_center_pipeline.warehouse.schema import raw_referrals, sync_attempts, sync_days
from partner_center_pipeline.windows import SyncWindow, WindowGrid, ticks_of
from partner_center_pipeline_tests.warehouse.pages import make_version
from partner_center_pipeline_tests.warehouse.test_leads import lead_row

START = datetime(2026, 1, 1, tzinfo=UTC)
GRID = WindowGrid.of(START, 3600, 0)
SUMS = ("pages", "fetched", "new_versions", "unchanged", "late", "quarantined", "seconds_waited")


def window(number: int) -> SyncWindow:
    return GRID.window((GRID.first or 0) + number * GRID.width)


def attempt(warehouse: Warehouse, number: int, at: datetime, *, fails: bool = False, whole: bool = True) -> None:
    """One attempt at a window, which then is done by the whole chain, by its first asset, or not at all."""
    run = f"run {number} {at}"
    with warehouse.write() as connection:
        windows = ledger.resolve(connection, [window(number)], GRID.first or 0)
        ledger.start_attempts(connection, windows, run, at)
        if fails:
            ledger.fail(connection, run, at, "a test wants it")
            return
        figures = Figures(
            pages=2, fetched=number + 1, new_versions=1, late=1, seconds_waited=0.5, latest_late_seconds=float(number)
        )
        ledger.complete_windows(connection, dict.fromkeys(windows, figures), run, at)
        if whole:
            for asset in ledger.CHAIN[1:]:
                ledger.mark(connection, windows, asset, at)


def sums(warehouse: Warehouse) -> dict[str, float]:
    """Count and figures of all attempts, kept one by one or not."""
    with warehouse.read() as connection:
        one_by_one, by_day = (
            connection.execute(select(count, *(func.coalesce(func.sum(table.c[name]), 0) for name in SUMS))).one()
            for table, count in (
                (sync_attempts, func.count(sync_attempts.c.id)),
                (sync_days, func.coalesce(func.sum(sync_days.c.attempts), 0)),
            )
        )
    return {
        name: float(one) + float(other) for name, one, other in zip(("count", *SUMS), one_by_one, by_day, strict=True)
    }


def test_sums_of_old_attempts_stay_by_day_and_a_second_time_nothing_changes(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_ATTEMPTS", 3)
    for number in range(30):
        at = START + timedelta(hours=number)
        attempt(warehouse, number, at, fails=number % 5 == 0)
        if number % 5 == 0:
            attempt(warehouse, number, at + timedelta(minutes=30))
    before, now = sums(warehouse), START + timedelta(days=8)
    settings = Settings(attempts_kept_days=7)
    would = retention.forget(warehouse, settings, now, dry_run=True)
    assert sums(warehouse) == before
    done = retention.forget(warehouse, settings, now)
    assert would == done == {"attempts_folded": 29, "versions_deleted": 0}
    assert sums(warehouse) == before
    with warehouse.read() as connection:
        columns = (sync_days.c[name] for name in ("day", "state", "attempts", "latest_late_seconds"))
        days = [tuple(row) for row in connection.execute(select(*columns).order_by("day", "state"))]
        left = connection.execute(select(sync_attempts.c.started_at)).scalars().all()
    assert days == [("2026-01-01", "complete", 24, 23.0), ("2026-01-01", "failed", 5, None)]
    assert len(left) == 7
    assert min(left) == START + timedelta(days=1)
    assert retention.forget(warehouse, settings, now) == {"attempts_folded": 0, "versions_deleted": 0}
    assert retention.forget(warehouse, settings, now + timedelta(days=1))["attempts_folded"] == 6
    assert sums(warehouse) == before


def test_attempts_at_a_window_that_is_not_done_stay_and_so_do_running_ones_and_the_newest(warehouse: Warehouse) -> None:
    attempt(warehouse, 0, START, fails=True)
    attempt(warehouse, 1, START, whole=False)
    with warehouse.write() as connection:
        ledger.start_attempts(connection, ledger.resolve(connection, [window(2)], GRID.first or 0), "running", START)
    attempt(warehouse, 3, START)
    attempt(warehouse, 4, START)
    assert retention.forget(warehouse, Settings(), START + timedelta(days=400))["attempts_folded"] == 1
    with warehouse.read() as connection:
        left = connection.execute(select(sync_attempts.c.window_start).order_by(sync_attempts.c.id)).scalars().all()
    assert left == [window(number).start for number in (0, 1, 2, 4)]


def versions(warehouse: Warehouse) -> set[tuple[str, str]]:
    with warehouse.read() as connection:
        return {(row.referral_id, row.version) for row in connection.execute(select(raw_referrals))}


def test_of_referrals_closed_for_a_month_the_newest_versions_stay(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    long_ago, now = ticks_of(START), START + timedelta(days=100)
    placed = [
        referrals.Placed(make_version(name, long_ago + at, f"v{at}"), window(0).start, late=False)
        for name in ("closed", "open", "closed of late", "waiting", "few")
        for at in range(2 if name == "few" else 5)
    ]
    with warehouse.write() as connection:
        referrals.store(connection, placed, START)
        pending.remove(connection, pending.load(connection, Task.LEADS))
        for name in ("closed", "waiting", "few"):
            leads.write(connection, [lead_row(name, long_ago, status="Closed")])
        leads.write(
            connection, [lead_row("open", long_ago), lead_row("closed of late", ticks_of(now), status="Closed")]
        )
        pending.add(connection, Task.LEADS, ["waiting"], now)
    before = versions(warehouse)
    assert retention.forget(warehouse, Settings(), now)["versions_deleted"] == 0
    settings = Settings(closed_versions_kept=2)
    assert retention.forget(warehouse, settings, now, dry_run=True)["versions_deleted"] == 3
    assert versions(warehouse) == before
    assert retention.forget(warehouse, settings, now)["versions_deleted"] == 3
    assert versions(warehouse) == before - {("closed", "v0"), ("closed", "v1"), ("closed", "v2")}
    assert retention.forget(warehouse, settings, now)["versions_deleted"] == 0
