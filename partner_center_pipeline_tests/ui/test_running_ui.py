"""In the running UI: materialize, schedule, backfill, and the gate off and on by an edit of `.env`."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import ledger
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.views import VIEWS
from partner_center_pipeline.windows import BEGINNING, uncovered
from partner_center_pipeline_tests.cli.commands import run
from partner_center_pipeline_tests.ui.running import Tick, Ui, running_ui, wait_until
from partner_center_simulator import Simulator

CHAIN = ["raw_referrals", "normalized_leads", "companies", "domain_signals", "scored_segments"]
ENABLED = "HUNTER_PARTNER_CENTER_ENABLED"
TICK_SECONDS = 100.0
BACKFILL_SECONDS = 600.0
"""Each minute's newest window goes first, in a run of its own; on a busy machine that leaves little for a backfill."""


class EnvFile:
    """The `.env` of an installation that points at a simulator, edited as a person would."""

    def __init__(self, home: Path, variables: dict[str, str]) -> None:
        self._path = home / ".env"
        self._variables = variables
        self.set()

    def set(self, **changes: str) -> None:
        self._variables |= changes
        self._path.write_text("".join(f"{name}={value}\n" for name, value in self._variables.items()))


@pytest.fixture
def installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: Callable[[Path], Mapping[str, str]]
) -> Iterator[EnvFile]:
    """A home folder with one-minute windows since half an hour ago, a sign-in, and the flag off."""
    for name in [name for name in os.environ if name.startswith(("HUNTER_", "DAGSTER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HUNTER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name, value in storage(tmp_path).items():
        monkeypatch.setenv(name, value)
    now = datetime.now(UTC)
    start = (now - timedelta(minutes=30)).replace(second=0, microsecond=0)
    with Simulator(7, now, 80, recent_from=start, directory=tmp_path / "microsoft") as simulator:
        file = EnvFile(
            tmp_path,
            {
                **simulator.environment(),
                "HUNTER_SYNC_START": f"{start:%Y-%m-%dT%H:%M:%SZ}",
                "HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS": "60",
                "HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS": "5",
                ENABLED: "false",
            },
        )
        with connect_sign_in(Settings.load()) as sign_in:
            code = sign_in.begin()
            simulator.approve(code.user_code)
            sign_in.finish(code)
        yield file


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


@pytest.mark.slow
def test_a_day_in_the_running_ui(installation: EnvFile, tmp_path: Path) -> None:
    with running_ui(tmp_path) as ui:
        grid = Settings.load().grid
        assert grid.first is not None
        keys = [window.key for window in grid.between(grid.first, grid.first + 20 * grid.width)]

        listed = ui.repository()
        named = {node["assetKey"]["path"][0] for node in listed["assetNodes"]}
        assert named == {*CHAIN, *(view.name for view in VIEWS), "lead_report"}
        checks = [check for node in listed["assetNodes"] for check in node["assetChecksOrError"]["checks"]]
        assert [check["canExecuteIndividually"] for check in checks] == ["CAN_EXECUTE"] * 11
        assert [schedule["scheduleState"]["status"] for schedule in listed["schedules"]] == ["RUNNING"] * 9
        assert [sensor["sensorState"]["status"] for sensor in listed["sensors"]] == ["RUNNING"] * 2

        # Off: ticks skip and say why, a manual materialization fails at once and says what to set.
        started = datetime.now(UTC) - timedelta(seconds=60)
        refused = ui.materialize(CHAIN, keys[0])
        assert ui.end_of(refused) == "FAILURE"
        assert "Partner Center integration is disabled" in ui.failures(refused)
        assert f"{ENABLED}=true" in ui.failures(refused)
        _ticks_say(ui, started, "SKIPPED", "Partner Center integration is disabled")

        # On, by an edit of .env and nothing else: a manual materialization, a backfill over past windows, a tick of the
        # schedule, and the sensor fetches what was missed meanwhile.
        switched_on = datetime.now(UTC)
        installation.set(**{ENABLED: "true"})
        assert ui.end_of(ui.materialize(CHAIN, keys[0])) == "SUCCESS"
        backfill = ui.backfill(CHAIN, keys[3:9])
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
        said = json.loads(run(tmp_path, "status", "--json").stdout)["items"]
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
        runs = ui.run_ids()

    # History survives a restart.
    with running_ui(tmp_path) as again:
        assert set(runs) <= set(again.run_ids())
