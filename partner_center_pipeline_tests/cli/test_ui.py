"""`partner-center ui --demo`: webserver, daemon and code server as a person starts them, driven over GraphQL.

The windows are a minute wide, so that real ticks come while the test watches.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import pytest
from sqlalchemy import select

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.simulator import Simulator
from partner_center_pipeline.warehouse import ledger, schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import SyncWindow, WindowGrid, ticks_of
from partner_center_pipeline_tests.cli.commands import free_port, running
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.cli.graphql import SCHEDULE, SENSOR, DagsterUi, Run, Tick, wait_for

CHAIN = [str(asset) for asset in ledger.CHAIN]
INTERVAL = 60
PAST = 12
"""Windows that are due when the UI starts."""


@pytest.mark.slow
def test_the_running_ui_does_what_the_readme_says(home: Path) -> None:
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=PAST + 1)
    write_env(home, start)
    grid = Settings.load().grid
    first = grid.window(ticks_of(start))
    windows = [grid.window(first.start + number * grid.width) for number in range(PAST)]
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())

    with served(home, SIGINT) as ui:
        lists_assets_schedule_and_sensor(ui)
        the_sensor_catches_up(ui, warehouse, windows)
        backfill = ui.backfill(CHAIN, [windows[number].key for number in (2, 3, 4, 7)])
        materializes_one_window(ui, windows[0])
        the_schedule_does_its_window(ui, warehouse, grid)
        wait_for(lambda: ui.backfill_status(backfill) == "COMPLETED_SUCCESS", "the backfill to end")
        runs_of_backfill = [run for run in ui.runs() if run.tags.get("dagster/backfill") == backfill]
        assert {run.status for run in runs_of_backfill} == {"SUCCESS"}

        write_env(home, start, HUNTER_PARTNER_CENTER_ENABLED="false")
        missed = while_off_nothing_runs(ui, grid, windows[0])
        write_env(home, start, HUNTER_PARTNER_CENTER_PAGE_SIZE="many")
        a_bad_edit_is_named(ui)
        write_env(home, start, HUNTER_PARTNER_CENTER_ENABLED="true")
        on_again_the_sensor_fills_the_gap(ui, warehouse, missed)

        no_window_was_run_twice_by_itself(ui, grid)
        before = {run.run_id: run.status for run in ui.runs() if run.is_over}

    with served(home, SIGTERM) as ui:
        after = {run.run_id: run.status for run in ui.runs()}
        assert before.items() <= after.items()
    warehouse.close()


@pytest.mark.slow
def test_ctrl_c_interrupts_a_run_that_would_go_on_for_long(ready: Home, microsoft: Simulator) -> None:
    microsoft.faults.slow_seconds = 300
    with served(ready.path, SIGINT, demo=False) as ui:
        wait_for(lambda: [run for run in ui.runs() if run.status == "STARTED"], "the sensor's run to begin")
        wait_for(lambda: microsoft.api.requests > 0, "its first request")
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    with warehouse.read() as connection:
        states = set(connection.execute(select(schema.sync_attempts.c.state)).scalars())
    warehouse.close()
    assert states == {"failed"}


def write_env(home: Path, start: datetime, **variables: str) -> None:
    """Save `.env` as a person would while everything runs."""
    lines = {
        "HUNTER_SYNC_START": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS": str(INTERVAL),
        "HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS": "5",
        **variables,
    }
    (home / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")


@contextmanager
def served(home: Path, ended_by: Signals, *, demo: bool = True) -> Iterator[DagsterUi]:
    """A running UI. It ends well at one signal to the one process a person started, and leaves no other behind."""
    port = free_port()
    log = home.parent / f"ui-{port}.log"
    command = ("ui", *(("--demo",) if demo else ()), "--port", str(port))
    with log.open("w") as output, running(home, output, *command) as process:
        ui = DagsterUi(f"http://127.0.0.1:{port}")
        try:
            wait_for(lambda: ui.is_up() or process.poll() is not None, "the UI to answer")
            assert process.poll() is None, log.read_text()
            yield ui
        finally:
            ui.close()
        assert len(processes_of(home)) > 2
        process.send_signal(ended_by)
        assert process.wait(60) == 0, log.read_text()
        assert processes_of(home) == []


def processes_of(home: Path) -> list[int]:
    """The processes whose environment names this home folder (as Linux lists them)."""
    mark = f"HUNTER_HOME={home}\0".encode()
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in file.read_bytes():
                found.append(int(file.parent.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended meanwhile, or belongs to somebody else
    return found


# The steps ----------------------------------------------------------------------------------------------------------


def lists_assets_schedule_and_sensor(ui: DagsterUi) -> None:
    listed = ui.listed()
    assert sorted(node["assetKey"]["path"] for node in listed["assetNodes"]) == sorted([asset] for asset in CHAIN)
    assert all(node["isPartitioned"] for node in listed["assetNodes"])
    assert listed["schedules"] == [
        {"name": SCHEDULE, "cronSchedule": "* * * * *", "scheduleState": {"status": "RUNNING"}}
    ]
    assert listed["sensors"] == [{"name": SENSOR, "sensorState": {"status": "RUNNING"}}]


def the_sensor_catches_up(ui: DagsterUi, warehouse: Warehouse, windows: list[SyncWindow]) -> None:
    tick = ui.tick(SENSOR, lambda tick: bool(tick.run_ids), 0, "the windows of the past")
    (run,) = ui.ended(*tick.run_ids)
    assert run.status == "SUCCESS"
    assert run.tags["dagster/asset_partition_range_start"] == windows[0].key
    assert is_done(warehouse, windows[0])
    assert is_done(warehouse, windows[-3])


def materializes_one_window(ui: DagsterUi, window: SyncWindow) -> None:
    (run,) = ui.ended(ui.materialize(CHAIN, window.key))
    assert run.status == "SUCCESS", ui.failure(run.run_id)


def the_schedule_does_its_window(ui: DagsterUi, warehouse: Warehouse, grid: WindowGrid) -> None:
    tick = ui.tick(SCHEDULE, lambda tick: bool(tick.run_ids), 0, "a run for a window that just ended")
    (run,) = ui.ended(*tick.run_ids)
    assert run.status == "SUCCESS", ui.failure(run.run_id)
    window = window_of(tick, grid)
    assert run.tags["dagster/partition"] == window.key
    assert is_done(warehouse, window)


def while_off_nothing_runs(ui: DagsterUi, grid: WindowGrid, window: SyncWindow) -> SyncWindow:
    """Schedule and sensor skip, a manual run fails; the window that was missed."""
    since = time.time()
    (run,) = ui.ended(ui.materialize(CHAIN, window.key))
    assert run.status == "FAILURE"
    step, message = ui.failure(run.run_id)
    assert step == "raw_referrals"
    assert message.startswith("Partner Center integration is disabled: set HUNTER_PARTNER_CENTER_ENABLED=true")
    skipped = [ui.tick(name, lambda tick: tick.status == "SKIPPED", since, "a skip") for name in (SENSOR, SCHEDULE)]
    assert {tick.skip_reason for tick in skipped} == {message}
    return window_of(skipped[1], grid)


def a_bad_edit_is_named(ui: DagsterUi) -> None:
    tick = ui.tick(SENSOR, lambda tick: True, time.time(), "a skip for the bad edit")
    assert tick.status == "SKIPPED"
    assert (tick.skip_reason or "").startswith("HUNTER_PARTNER_CENTER_PAGE_SIZE: ")


def on_again_the_sensor_fills_the_gap(ui: DagsterUi, warehouse: Warehouse, missed: SyncWindow) -> None:
    assert not is_done(warehouse, missed)
    tick = ui.tick(SENSOR, lambda tick: bool(tick.run_ids), time.time(), "the windows missed meanwhile")
    assert {run.status for run in ui.ended(*tick.run_ids)} == {"SUCCESS"}
    assert is_done(warehouse, missed)


def no_window_was_run_twice_by_itself(ui: DagsterUi, grid: WindowGrid) -> None:
    """Schedule and sensor never ask for the same window, unless its run came to nothing."""
    asked = [window.key for run in ui.runs() for window in windows_of(run, grid) if run.status == "SUCCESS"]
    assert sorted(set(asked)) == sorted(asked)


def windows_of(run: Run, grid: WindowGrid) -> list[SyncWindow]:
    """The windows of a run that schedule or sensor asked for; none for other runs."""
    if not {"dagster/schedule_name", "dagster/sensor_name"} & set(run.tags):
        return []
    first = run.tags.get("dagster/asset_partition_range_start") or run.tags["dagster/partition"]
    last = run.tags.get("dagster/asset_partition_range_end", first)
    return list(grid.between(grid.window_of_key(first).start, grid.window_of_key(last).end))


def window_of(tick: Tick, grid: WindowGrid) -> SyncWindow:
    """The window that a tick of the schedule is for."""
    window = grid.tick_window(datetime.fromtimestamp(tick.timestamp, UTC))
    assert window is not None
    return window


def is_done(warehouse: Warehouse, window: SyncWindow) -> bool:
    with warehouse.read() as connection:
        return any(low <= window.start and window.end <= high for low, high in ledger.covered(connection))
