"""Moving the start of the windows forward loses no coverage, and is refused while something before it is not done."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import ledger
from partner_center_pipeline.warehouse.database import open_warehouse
from partner_center_pipeline.windows import SyncWindow, catch_up, ticks_of
from partner_center_pipeline_tests.cli.conftest import Home

DAYS = 20


def midnight(days_ago: int) -> datetime:
    return (datetime.now(UTC) - timedelta(days=days_ago)).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def place(home: Path) -> Home:
    """A home with twenty days of hourly windows; its `.env` has comments and other lines."""
    (home / ".env").write_text(
        "# the windows\n"
        f"HUNTER_SYNC_START={midnight(DAYS):%Y-%m-%dT%H:%M:%SZ}\n"
        "HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS='3600'  # an hour\n",
        encoding="utf-8",
    )
    (home / ".env").chmod(0o600)
    return Home(home)


def due(settings: Settings) -> list[SyncWindow]:
    last = settings.grid.last_due(datetime.now(UTC))
    return [] if last is None else list(settings.grid.between(settings.grid.first or 0, last.end))


def do(*, but: datetime | None = None) -> None:
    """Let the whole chain have each window that is due, but the one that begins at an instant."""
    settings, now = Settings.load(), datetime.now(UTC)
    windows = [window for window in due(settings) if but is None or window.start != ticks_of(but)]
    with open_warehouse(settings) as db, db.write() as connection:
        resolved = ledger.resolve(connection, windows, settings.grid.first or 0)
        ledger.start_attempts(connection, resolved, "a test", now)
        ledger.complete_windows(connection, {window: ledger.Figures() for window in resolved}, "a test", now)
        for asset in ledger.CHAIN[1:]:
            ledger.mark(connection, resolved, asset, now)


def test_the_start_moves_forward_and_nothing_is_missing_afterwards(place: Home) -> None:
    do()
    before = (place.path / ".env").read_text(encoding="utf-8")
    dry = json.loads(place.invoke("compact-windows", "--keep-days", "5", "--dry-run", "--json").stdout)
    assert (place.path / ".env").read_text(encoding="utf-8") == before
    result = place.invoke("compact-windows", "--keep-days", "5")
    assert result.exit_code == 0, result.output
    start = f"{midnight(5):%Y-%m-%dT%H:%M:%SZ}"
    assert f"Set HUNTER_SYNC_START={start} in " in result.stdout
    assert "reload the definitions" in result.stdout
    changed = before.replace(f"{midnight(DAYS):%Y-%m-%dT%H:%M:%SZ}", start)
    assert (place.path / ".env").read_text(encoding="utf-8") == changed != before
    assert (place.path / ".env").stat().st_mode & 0o777 == 0o600
    settings, now = Settings.load(), datetime.now(UTC)
    assert len(due(settings)) == dry["windows"] < 6 * 24
    assert dry == {"start": start, "windows": len(due(settings)), "changed": False}
    with open_warehouse(settings) as db, db.read() as connection:
        assert catch_up(settings.grid, now, ledger.covered(connection), []) == []
    again = json.loads(place.invoke("compact-windows", "--keep-days", "5", "--json").stdout)
    assert again == {"start": start, "windows": len(due(settings)), "changed": False}


def test_it_is_refused_while_a_window_before_the_new_start_is_not_done(place: Home) -> None:
    gap = midnight(10)
    do(but=gap)
    before = (place.path / ".env").read_text(encoding="utf-8")
    result = place.invoke("compact-windows", "--keep-days", "5")
    assert result.exit_code == 1
    assert f"the first gap is at {gap:%Y-%m-%d %H:%M} UTC" in result.stderr
    assert (place.path / ".env").read_text(encoding="utf-8") == before
    assert place.invoke("compact-windows", "--keep-days", "12").exit_code == 0


def test_before_the_first_sync_it_says_that_nothing_is_done(place: Home) -> None:
    result = place.invoke("compact-windows", "--keep-days", "5")
    assert result.exit_code == 1
    assert "is done: nothing is." in result.stderr


def test_a_start_that_the_environment_sets_is_named_and_left_alone(
    place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    do()
    text = (place.path / ".env").read_text(encoding="utf-8")
    value = f"{midnight(DAYS):%Y-%m-%dT%H:%M:%SZ}"
    (place.path / ".env").write_text(text.replace(f"HUNTER_SYNC_START={value}\n", ""), encoding="utf-8")
    monkeypatch.setenv("HUNTER_SYNC_START", value)
    result = place.invoke("compact-windows", "--keep-days", "5")
    assert result.exit_code == 1
    assert f"set it to {midnight(5):%Y-%m-%dT%H:%M:%SZ} there" in result.stderr


def test_without_a_start_it_says_what_sets_one(home: Path) -> None:
    result = Home(home).invoke("compact-windows")
    assert result.exit_code == 1
    assert "HUNTER_SYNC_START is not set" in result.stderr
