"""In the running UI: materialize, schedule, backfill, the gate off and on by an edit of `.env`, and how the UI ends.

The tests run in the order of this file, on one installation: the second one ends the UI of the first.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import ledger, schema
from partner_center_pipeline.warehouse.database import Warehouse, open_warehouse
from partner_center_pipeline.warehouse.views import VIEWS
from partner_center_pipeline.windows import BEGINNING, uncovered
from partner_center_pipeline_tests.cli.commands import free_port, run
from partner_center_pipeline_tests.cli.terminal import in_terminal
from partner_center_pipeline_tests.cli.test_ui import processes_of
from partner_center_pipeline_tests.ui.running import START_SECONDS, Tick, Ui, running_ui, wait_until
from partner_center_simulator import Simulator

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.xdist_group("day in the UI")]

CHAIN = ["raw_referrals", "normalized_leads", "companies", "domain_signals", "scored_segments"]
ENABLED = "HUNTER_PARTNER_CENTER_ENABLED"
TICK_SECONDS = 100.0
BACKFILL_SECONDS = 600.0
"""Each minute's newest window goes first, in a run of its own; on a busy machine that leaves little for a backfill."""


class EnvFile:
    """The `.env` of an installation that points at a local Microsoft, edited as a person would."""

    def __init__(self, home: Path, microsoft: Simulator, variables: dict[str, str]) -> None:
        self.home = home
        self.microsoft = microsoft
        self._variables = variables
        self.set()

    def set(self, **changes: str) -> None:
        self._variables |= changes
        (self.home / ".env").write_text("".join(f"{name}={value}\n" for name, value in self._variables.items()))


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory, storage: Callable[[Path], Mapping[str, str]]
) -> Iterator[EnvFile]:
    """A home folder with one-minute windows since half an hour ago, a sign-in, and the flag off."""
    folder = tmp_path_factory.mktemp("day")
    home = folder / "home"
    home.mkdir()
    now = datetime.now(UTC)
    start = (now - timedelta(minutes=30)).replace(second=0, microsecond=0)
    with (
        pytest.MonkeyPatch.context() as patch,
        Simulator(7, now, 80, recent_from=start, directory=folder / "microsoft") as microsoft,
    ):
        for name in [name for name in os.environ if name.startswith(("HUNTER_", "DAGSTER_"))]:
            patch.delenv(name)
        patch.setenv("HUNTER_HOME", str(home))
        patch.chdir(home)
        for name, value in storage(home).items():
            patch.setenv(name, value)
        file = EnvFile(
            home,
            microsoft,
            {
                **microsoft.environment(),
                "HUNTER_SYNC_START": f"{start:%Y-%m-%dT%H:%M:%SZ}",
                "HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS": "60",
                "HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS": "5",
                ENABLED: "false",
            },
        )
        with connect_sign_in(Settings.load()) as sign_in:
            code = sign_in.begin()
            microsoft.approve(code.user_code)
            sign_in.finish(code)
        yield file


@dataclass
class Day:
    """A running UI, its first windows, and, after its end, the runs that it had listed."""

    ui: Ui
    keys: Sequence[str]
    ending: ExitStack
    runs: Sequence[str] | None = None

    def end(self) -> None:
        """End the UI, if that was not done."""
        if self.runs is None:
            self.runs = self.ui.run_ids()
            self.ending.close()


@pytest.fixture(scope="module")
def day(installation: EnvFile) -> Iterator[Day]:
    """The UI of the installation, until the last test ends it."""
    with ExitStack() as ending:
        ui = ending.enter_context(running_ui(installation.home))
        grid = Settings.load().grid
        assert grid.first is not None
        yield Day(ui, [window.key for window in grid.between(grid.first, grid.first + 20 * grid.width)], ending)


def _due_windows_are_done() -> bool | None:
    """Whether the ledger misses nothing that was due half a minute ago."""
    settings = Settings.load()
    warehouse = Warehouse.open(settings.database_url.get_secret_value())
    with warehouse.read() as connection:
        done = ledger.covered(connection)
    warehouse.close()
    end = settings.grid.due_end(datetime.now(UTC) - timedelta(seconds=90))
    return True if not uncovered(BEGINNING, end, done) else None


def _newer(ticks: list[Tick], since: datetime, status: str, words: str) -> Tick | None:
    return next(
        (tick for tick in ticks if tick.at > since.timestamp() and tick.status == status and words in tick.reason), None
    )


def _ticks_say(ui: Ui, since: datetime, status: str, words: str) -> None:
    """Both the schedule and the sensor tick with this outcome, after `since`."""
    wait_until(
        f"a sensor tick {status} {words!r}", lambda: _newer(ui.sensor_ticks(), since, status, words), TICK_SECONDS
    )
    wait_until(
        f"a schedule tick {status} {words!r}", lambda: _newer(ui.schedule_ticks(), since, status, words), TICK_SECONDS
    )


def test_a_day_in_the_running_ui(installation: EnvFile, day: Day) -> None:
    ui = day.ui
    listed = ui.repository()
    named = {node["assetKey"]["path"][0] for node in listed["assetNodes"]}
    assert named == {*CHAIN, *(view.name for view in VIEWS), "lead_report"}
    checks = [check for node in listed["assetNodes"] for check in node["assetChecksOrError"]["checks"]]
    assert [check["canExecuteIndividually"] for check in checks] == ["CAN_EXECUTE"] * 11
    assert [schedule["scheduleState"]["status"] for schedule in listed["schedules"]] == ["RUNNING"] * 9
    assert [sensor["sensorState"]["status"] for sensor in listed["sensors"]] == ["RUNNING"] * 2

    # Off: ticks skip and say why, a manual materialization fails at once and says what to set.
    started = datetime.now(UTC) - timedelta(seconds=60)
    refused = ui.materialize(CHAIN, day.keys[0])
    assert ui.end_of(refused) == "FAILURE"
    assert "Partner Center integration is disabled" in ui.failures(refused)
    assert f"{ENABLED}=true" in ui.failures(refused)
    _ticks_say(ui, started, "SKIPPED", "Partner Center integration is disabled")

    # On, by an edit of .env and nothing else: a manual materialization, a backfill over past windows, a tick of the
    # schedule, and the sensor fetches what was missed meanwhile.
    switched_on = datetime.now(UTC)
    installation.set(**{ENABLED: "true"})
    assert ui.end_of(ui.materialize(CHAIN, day.keys[0])) == "SUCCESS"
    backfill = ui.backfill(CHAIN, day.keys[3:9])
    wait_until(
        "the end of the backfill",
        lambda: True if ui.backfill_status(backfill) == "COMPLETED_SUCCESS" else None,
        BACKFILL_SECONDS,
    )
    tick = wait_until(
        "a schedule tick that ran",
        lambda: _newer(ui.schedule_ticks(), switched_on, "SUCCESS", ""),
        TICK_SECONDS,
    )
    assert [ui.end_of(run_id) for run_id in tick.run_ids] == ["SUCCESS"]
    wait_until("every due window to be done", _due_windows_are_done, TICK_SECONDS)
    said = json.loads(run(installation.home, "status", "--json").stdout)["items"]
    grades = {item["subject"]: item["grade"] for item in said}
    kept_up = (
        "flag",
        "sync",
        "open windows",
        "breaker",
        "pending",
        "daemon",
        "schedules and sensors",
        "pools",
        "queue",
    )
    assert {subject: grades[subject] for subject in kept_up} == dict.fromkeys(kept_up, "ok"), said
    assert any(tick.run_ids for tick in ui.sensor_ticks())

    # A bad edit stops nothing but the ticks, which name the variable.
    spoiled = datetime.now(UTC)
    installation.set(HUNTER_PARTNER_CENTER_PAGE_SIZE="many")
    _ticks_say(ui, spoiled, "SKIPPED", "HUNTER_PARTNER_CENTER_PAGE_SIZE")
    installation.set(HUNTER_PARTNER_CENTER_PAGE_SIZE="50", **{ENABLED: "false"})


def test_a_run_that_would_go_on_for_long_is_interrupted_and_no_process_stays(installation: EnvFile, day: Day) -> None:
    microsoft = installation.microsoft
    microsoft.faults.slow_seconds = 300
    before = microsoft.api.requests
    installation.set(**{ENABLED: "true"})
    day.ui.materialize(CHAIN, day.keys[1])
    wait_until("the first request of a run", lambda: microsoft.api.requests > before or None, TICK_SECONDS)
    day.end()
    microsoft.faults.clear()
    installation.set(**{ENABLED: "false"})
    assert processes_of(installation.home) == []
    assert list(installation.home.rglob("hunter.db-wal")) == [], "the file alone holds everything"
    with open_warehouse(Settings.load()) as warehouse, warehouse.read() as connection:
        states = list(
            connection.execute(select(schema.sync_attempts.c.state).order_by(schema.sync_attempts.c.id)).scalars()
        )
    assert states[-1] == "failed"
    assert "running" not in states


def test_history_survives_a_restart_and_a_closed_terminal_ends_the_ui_with_all_its_processes(
    installation: EnvFile, day: Day
) -> None:
    day.end()
    assert day.runs is not None
    port = free_port()
    log = installation.home.parent / "terminal.txt"
    with in_terminal(installation.home, "ui", "--port", str(port), columns=200, is_script=True) as terminal:
        ui = Ui(f"http://127.0.0.1:{port}", installation.home, log)

        def is_loaded() -> bool | None:
            log.write_text(terminal.printed())
            return ui.is_loaded()

        wait_until("the UI", is_loaded, START_SECONDS)
        assert set(day.runs) <= set(ui.run_ids())
        assert len(processes_of(installation.home)) > 3
        terminal.close()
        terminal.process.wait(45)
        wait_until("the end of every process", lambda: None if processes_of(installation.home) else True, 10)
