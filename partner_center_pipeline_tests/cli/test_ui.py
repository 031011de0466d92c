"""`partner-center ui`: what becomes of the demo's flag, and of a run that is under way when it ends.

Not here: what the running UI does with windows (`partner_center_pipeline_tests.ui`).
"""

import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from partner_center_pipeline.cli.local_microsoft import local_microsoft
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.cli.commands import run
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.ui.running import Tick, Ui, running_ui, wait_until
from partner_center_simulator import Simulator


def processes_of(home: Path) -> list[int]:
    """The processes whose environment names this home folder (as Linux lists them)."""
    mark = f"HUNTER_HOME={home}\0".encode()
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in file.read_bytes():
                found.append(int(file.parent.name))
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return found


def set_flag(home: Path, value: str) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    (home / ".env").write_text(
        f"HUNTER_SYNC_START={start:%Y-%m-%dT%H:%M:%SZ}\n"
        + (f"HUNTER_PARTNER_CENTER_ENABLED={value}\n" if value else ""),
        encoding="utf-8",
    )


@pytest.mark.parametrize(("live", "in_file", "enabled"), [
    (True, "", True), (True, "false", False), (True, "true", True),
    (False, "", True), (False, "false", True),
])  # fmt: skip
def test_the_live_demo_is_on_unless_env_says_off_and_the_one_shot_demo_is_always_on(
    live: bool, in_file: str, enabled: bool, home: Path
) -> None:
    set_flag(home, in_file)
    with local_microsoft(live=live):
        assert Settings.load().partner_center_enabled is enabled
        if live:
            set_flag(home, "false" if enabled else "true")
            assert Settings.load().partner_center_enabled is not enabled
    set_flag(home, "")
    assert Settings.load().partner_center_enabled is False


@pytest.mark.slow
def test_in_the_live_demo_an_edit_of_the_flag_counts_at_the_next_tick(home: Path) -> None:
    set_flag(home, "false")
    with running_ui(home, "--demo") as ui:
        skipped = first_tick(ui, 0)
        assert skipped.status == "SKIPPED"
        assert skipped.reason.startswith("Partner Center integration is disabled")
        set_flag(home, "true")
        tick = first_tick(ui, time.time())
        assert {ui.end_of(run_id) for run_id in tick.run_ids} == {"SUCCESS"}
        assert len(processes_of(home)) > 2
    assert processes_of(home) == []


@pytest.mark.slow
def test_a_run_that_would_go_on_for_long_is_interrupted_and_no_process_stays(ready: Home, microsoft: Simulator) -> None:
    microsoft.faults.slow_seconds = 300
    before = microsoft.api.requests
    with running_ui(ready.path):
        wait_until("the first request of the sensor's run", lambda: microsoft.api.requests > before or None, 90)
    assert processes_of(ready.path) == []
    assert list(ready.path.rglob("hunter.db-wal")) == [], "the file alone holds everything"
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    with warehouse.read() as connection:
        assert set(connection.execute(select(schema.sync_attempts.c.state)).scalars()) == {"failed"}
    warehouse.close()


def first_tick(ui: Ui, since: float) -> Tick:
    """The sensor's first tick after an instant (seconds since 1970)."""
    return wait_until(
        "a tick of the sensor",
        lambda: next(
            (tick for tick in reversed(ui.sensor_ticks()) if tick.at > since and tick.status != "STARTED"), None
        ),
        60,
    )


def test_a_port_that_is_taken_is_said(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(home, "ui", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "--port takes another" in done.stderr
    assert processes_of(home) == []
