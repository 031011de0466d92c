"""`partner-center sync`: windows through Dagster, in the foreground, in a process of its own."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGINT

import pytest
from sqlalchemy import select

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import ledger, schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import ticks_of
from partner_center_pipeline_tests.cli.commands import run, running
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.ui.running import wait_until
from partner_center_simulator import HttpFault, Simulator

pytestmark = pytest.mark.slow


OF_AN_HOUR = {"HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS": "3600"}
"""For windows of days: Dagster writes ten events for each one."""


def covered(home: Home) -> list[tuple[int, int]]:
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    with warehouse.read() as connection:
        found = ledger.covered(connection)
    warehouse.close()
    return found


def leads(home: Home) -> set[str]:
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    with warehouse.read() as connection:
        found = set(connection.execute(select(schema.leads.c.referral_id)).scalars())
    warehouse.close()
    return found


def states(home: Home) -> list[str]:
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    with warehouse.read() as connection:
        found = list(
            connection.execute(select(schema.sync_attempts.c.state).order_by(schema.sync_attempts.c.id)).scalars()
        )
    warehouse.close()
    return found


def test_without_options_it_does_every_window_that_is_due_and_then_nothing(ready: Home) -> None:
    first = run(ready.path, "sync")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("Done: ")
    ((_, end),) = covered(ready)
    last = Settings.load().grid.last_due(datetime.now(UTC))
    assert last is not None
    assert last.end - end <= Settings.load().grid.width  # one may have fallen due meanwhile
    again = run(ready.path, "sync", "--json", "--to", "2000-01-01")
    assert again.returncode == 2
    again = run(ready.path, "sync", "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout)["windows"] <= 1


def test_from_and_to_name_windows_done_or_not(ready: Home) -> None:
    start = Settings.load().sync_start
    assert start is not None
    since, until = start + timedelta(minutes=25), start + timedelta(minutes=45)
    outcomes = [
        run(ready.path, "sync", "--json", "--from", f"{since:%Y-%m-%dT%H:%MZ}", "--to", f"{until:%Y-%m-%dT%H:%MZ}")
        for _ in range(2)
    ]
    said = [json.loads(done.stdout) for done in outcomes]
    _, again = (one.pop("rows") for one in said)
    assert said == 2 * [{"windows": 3, "runs": 1, "failure": None, "failures": [], "quarantined": {}}]
    assert again["new_versions"] == again["quarantined"] == 0
    assert again["unchanged"] <= again["fetched"]
    assert len(covered(ready)) == 1
    ((low, high),) = covered(ready)
    assert (high - low) // Settings.load().grid.width == 3  # 20 to 50 minutes past: the windows that 25 to 45 touches


def test_a_time_without_windows_or_that_is_none_is_a_usage_error(ready: Home) -> None:
    outside = run(ready.path, "sync", "--to", "2000-01-01")
    assert outside.returncode == 2
    assert "no window there: they run from" in outside.stderr
    nonsense = run(ready.path, "sync", "--from", "yesterday")
    assert nonsense.returncode == 2
    assert "write it like 2026-01-31T09:30:00Z (UTC)" in nonsense.stderr


def test_while_disabled_it_fails_at_once_and_has_written_where_windows_begin(home: Path) -> None:
    done = run(home, "sync")
    assert done.returncode == 1
    assert "Partner Center integration is disabled: set HUNTER_PARTNER_CENTER_ENABLED=true in .env" in done.stderr
    assert f"Wrote HUNTER_SYNC_START={datetime.now(UTC):%Y-%m-%d}T00:00:00Z" in done.stderr
    assert (home / ".env").read_text().count("HUNTER_SYNC_START=") == 1
    assert run(home, "sync").returncode == 1
    assert (home / ".env").read_text().count("HUNTER_SYNC_START=") == 1


def test_a_failed_run_ends_it_with_the_steps_message(ready: Home, microsoft: Simulator) -> None:
    microsoft.faults.mfa_missing = True
    done = run(ready.path, "sync")
    assert done.returncode == 1
    assert "raw_referrals failed for" in done.stderr
    assert "run `partner-center login`" in done.stderr
    assert "Traceback" not in done.stderr
    as_json = run(ready.path, "sync", "--json")
    assert as_json.returncode == 1
    failure = json.loads(as_json.stdout)["failure"]
    assert failure["step"] == "raw_referrals"
    assert "partner-center login" in failure["message"]


def test_ctrl_c_ends_it_soon_and_the_next_one_continues(ready: Home, microsoft: Simulator, tmp_path: Path) -> None:
    before = microsoft.api.requests
    microsoft.faults.slow_seconds = 300
    log = tmp_path / "sync.log"
    with log.open("w") as output, running(ready.path, output, "sync", is_script=True) as process:
        wait_until("the first request", lambda: microsoft.api.requests > before or None, 60)
        at = time.monotonic()
        process.send_signal(SIGINT)
        assert process.wait(60) == 1
        assert time.monotonic() - at < 30
    assert log.read_text().rstrip().endswith("Aborted!")
    assert "Traceback" not in log.read_text()
    assert set(states(ready)) == {"failed"}
    microsoft.faults.clear()
    assert run(ready.path, "sync").returncode == 0
    assert len(covered(ready)) == 1


def test_a_fault_that_passes_is_no_reason_to_fail(ready: Home, microsoft: Simulator) -> None:
    microsoft.faults.plan(HttpFault.UNAVAILABLE_HTML)
    assert run(ready.path, "sync").returncode == 0


@pytest.mark.parametrize("minutes", [-25, 5])
def test_the_first_sync_does_what_is_over_for_the_server_and_tells_that_the_clocks_differ(
    ready: Home, microsoft: Simulator, minutes: int
) -> None:
    apart = timedelta(minutes=minutes)
    microsoft.clock.advance(apart)
    grid = Settings.load().grid
    expected = grid.due_end(datetime.now(UTC) + min(apart, timedelta(0)))
    done = run(ready.path, "sync")
    assert done.returncode == 0, done.stderr
    ((_, end),) = covered(ready)
    assert 0 <= end - expected <= grid.width  # one may have fallen due meanwhile
    direction = "ahead of" if minutes < 0 else "behind"
    assert re.search(rf"warning This machine's clock is \d+ s {direction} Partner Center's\.", done.stderr)


def test_after_a_failed_stretch_it_goes_on_and_lists_all_failures(ready: Home, microsoft: Simulator) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=2, hours=5)
    ready.edit_env(HUNTER_SYNC_START=f"{start:%Y-%m-%dT%H:%M:%SZ}", **OF_AN_HOUR)
    many = [microsoft.world.create(ticks_of(start + timedelta(minutes=5, seconds=n)))["id"] for n in range(30)]
    kept = microsoft.world.create(ticks_of(start + timedelta(days=1, hours=2)))["id"]
    microsoft.faults.poisoned_rows = frozenset(many)
    done = run(ready.path, "sync", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["runs"] == 3
    (failure,) = said["failures"]
    assert failure == said["failure"]
    assert "refuses more than 25 referrals" in failure["message"]
    assert failure["message"] in done.stderr
    assert len(covered(ready)) == 1, "the two other days are done"
    assert kept in leads(ready)


def test_rows_in_quarantine_are_a_warning_and_no_failure(ready: Home, microsoft: Simulator) -> None:
    start = Settings.load().sync_start
    assert start is not None
    odd = microsoft.world.create(ticks_of(start + timedelta(minutes=5)))["id"]
    microsoft.faults.poisoned_rows = frozenset({odd})
    done = run(ready.path, "sync", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["quarantined"] == {"unreadable": 1}
    assert "1 row of Partner Center in quarantine (1 unreadable)" in done.stderr
    assert "partner-center quarantine list" in done.stderr


def test_what_every_stretch_would_meet_ends_it_at_once(ready: Home, microsoft: Simulator) -> None:
    microsoft.faults.mfa_missing = True
    start = datetime.now(UTC) - timedelta(days=3)
    ready.edit_env(HUNTER_SYNC_START=f"{start:%Y-%m-%dT%H:00:00Z}", **OF_AN_HOUR)
    said = json.loads(run(ready.path, "sync", "--json").stdout)
    assert (said["runs"] >= 3, len(said["failures"])) == (True, 1)
