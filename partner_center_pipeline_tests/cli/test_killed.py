"""A killed foreground run blocks no other: its slot, its lease and its windows are free within about a minute."""

import time
from pathlib import Path
from signal import SIGKILL

import pytest
from sqlalchemy import func, select

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.cli.commands import run, running
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.cli.test_second_sync import SAID
from partner_center_simulator import Simulator

pytestmark = pytest.mark.slow


def test_the_next_sync_says_what_it_waits_for_and_continues_where_a_killed_one_stopped(
    ready: Home, microsoft: Simulator, tmp_path: Path
) -> None:
    ready.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="10")
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    microsoft.faults.slow_seconds = 0.5
    with (tmp_path / "log").open("w") as log, running(ready.path, log, "sync", is_script=True) as process:
        deadline = time.monotonic() + 60
        while rows(warehouse) < 30 and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(SIGKILL)
        process.wait()
    kept = rows(warehouse)
    assert kept >= 30

    microsoft.faults.clear()
    started = time.monotonic()
    done = run(ready.path, "sync", "--json")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 110
    found = SAID.search(done.stderr)
    assert found is not None, done.stderr
    assert f"Run {found[1]} gives no sign of life. If it died, it is ended within about a minute" in done.stderr
    assert f"Run {found[1]} died earlier; it is ended" in done.stderr
    with warehouse.read() as connection:
        states = list(connection.execute(select(schema.sync_attempts.c.state, schema.sync_attempts.c.error)))
        ids = connection.execute(select(func.count(schema.raw_referrals.c.referral_id.distinct()))).scalar_one()
    assert ids > kept
    assert {state for state, _ in states} >= {"failed", "complete"}
    assert any("died" in str(error) for _, error in states)
    warehouse.close()


def rows(warehouse: Warehouse) -> int:
    with warehouse.read() as connection:
        counted: int = connection.execute(select(func.count()).select_from(schema.raw_referrals)).scalar_one()
    return counted
