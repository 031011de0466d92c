"""A pipeline in a folder of its own, loaded as Dagster loads it, with a real instance and a real warehouse.

A test edits its `.env`, runs windows, evaluates schedule and sensor, and reads the warehouse.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster._serdes import serialize_value
from sqlalchemy import select, update

from partner_center_pipeline.defs.build import build_defs
from partner_center_pipeline.defs.dagster_private import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import ledger, schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.row_counts import row_counts
from partner_center_pipeline.windows import SyncWindow, WindowGrid
from partner_center_pipeline_tests.dagster_storage import keep_engines

JOB = "partner_center_sync"
FORCED = ("normalized_leads", "companies", "scored_segments")
_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

keep_engines()


@cache
def load_definitions(grid: WindowGrid) -> dg.Definitions:
    """The definitions for a grid, made once: making them takes half a second."""
    return build_defs(grid)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: `failure` is the message of the step that failed, as the UI shows it."""

    run_id: str
    success: bool
    failed_step: str | None
    failure: str | None
    metadata: Mapping[tuple[str, str], Mapping[str, Any]]
    """What each materialization says, by asset and window."""


@dataclass
class Project:
    """One home folder, its definitions, instance and warehouse."""

    home: Path
    variables: dict[str, str]
    instance: dg.DagsterInstance
    definitions: dg.Definitions = field(init=False)
    grid: WindowGrid = field(init=False)
    warehouse: Warehouse = field(init=False)

    def __post_init__(self) -> None:
        self.edit_env()
        settings = Settings.load()
        self.grid = settings.grid
        self.definitions = load_definitions(self.grid)
        self.warehouse = Warehouse.open(settings.database_url.get_secret_value())

    def edit_env(self, **changes: str) -> None:
        """Save `.env` with these variables changed."""
        self.variables.update(changes)
        text = "".join(f"{name}='{value}'\n" for name, value in self.variables.items())
        (self.home / ".env").write_text(text, encoding="utf-8")

    # Windows

    def window(self, number: int) -> SyncWindow:
        """The window with this number; 0 is the first."""
        assert self.grid.first is not None
        return self.grid.window(self.grid.first + number * self.grid.width)

    def last_due(self) -> SyncWindow:
        """The newest window that is due."""
        last = self.grid.last_due(datetime.now(UTC))
        assert last is not None
        return last

    def mark_done(self, *intervals: tuple[SyncWindow, SyncWindow]) -> None:
        """Record in the ledger that the whole chain has the windows of each interval, its last one included."""
        now = datetime.now(UTC)
        with self.warehouse.write() as connection:
            for first, last in intervals:
                windows = list(self.grid.between(first.start, last.end))
                windows = ledger.resolve(connection, windows, self.grid.first or 0)
                ledger.start_attempts(connection, windows, "a test", now)
                ledger.complete_windows(connection, {window: ledger.Figures() for window in windows}, "a test", now)
                for asset in ledger.CHAIN[1:]:
                    ledger.mark(connection, windows, asset, now)

    def mark_failed(self, window: SyncWindow) -> None:
        """Record in the ledger that an attempt at a window failed now."""
        now = datetime.now(UTC)
        with self.warehouse.write() as connection:
            ledger.start_attempts(connection, [window], window.key, now)
            ledger.fail(connection, window.key, now, "a test wants it")

    def mark_refused(self, windows: list[SyncWindow], run_id: str) -> None:
        """Record in the ledger that an attempt at windows failed with what would be refused again."""
        now = datetime.now(UTC)
        with self.warehouse.write() as connection:
            ledger.start_attempts(connection, windows, run_id, now)
            ledger.fail(connection, run_id, now, "a test wants it", refused=True)

    def set_attempts_back(self, by: timedelta) -> None:
        """Move the start of all attempts back by this time."""
        with self.warehouse.write() as connection:
            connection.execute(update(schema.sync_attempts).values(started_at=datetime.now(UTC) - by))

    # Runs

    def run(
        self,
        first: SyncWindow | str,
        last: SyncWindow | str | None = None,
        assets: Iterable[str] | None = None,
        *,
        force: bool = False,
        config: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Outcome:
        """Materialize a window, or with `last` a range by the tags that Dagster uses for it.

        `config` is the configuration of assets, by name; `force` forces those that take it.
        """
        start, end = (which if which is None or isinstance(which, str) else which.key for which in (first, last))
        which: dict[str, Any] = (
            {"partition_key": start}
            if end is None
            else {"tags": {ASSET_PARTITION_RANGE_START_TAG: start, ASSET_PARTITION_RANGE_END_TAG: end}}
        )
        configs = config or {name: {"force": True} for name in (FORCED if force else ())}
        result = self.definitions.resolve_job_def(JOB).execute_in_process(
            instance=self.instance,
            asset_selection=None if assets is None else [dg.AssetKey(name) for name in assets],
            raise_on_error=False,
            run_config=_QUIET | {"ops": {name: {"config": dict(chosen)} for name, chosen in configs.items()}},
            **which,
        )
        failed = next(iter(result.get_step_failure_events()), None)
        failure = None
        if failed is not None:
            data = failed.step_failure_data
            failure = data.user_failure_data.description if data.user_failure_data else str(data.error)
        return Outcome(
            run_id=result.run_id,
            success=result.success,
            failed_step=failed and failed.step_key,
            failure=failure,
            metadata={
                (event.asset_key.to_user_string(), event.partition): {
                    name: value.value for name, value in event.materialization.metadata.items()
                }
                for event in result.get_asset_materialization_events()
                if event.asset_key is not None and event.partition is not None
            },
        )

    def event_log(self, run_id: str) -> str:
        """All that Dagster keeps of a run's events and messages, as it stores it."""
        return "\n".join(serialize_value(entry) for entry in self.instance.all_logs(run_id))

    def observations(self, asset: str) -> list[dg.AssetObservation]:
        """What Dagster knows of an asset besides its materializations, the newest first."""
        records = self.instance.fetch_observations(dg.AssetKey(asset), limit=10).records
        return [record.asset_observation for record in records if record.asset_observation is not None]

    # Schedule and sensor

    def tick_schedule(self, at: datetime, job: str = JOB) -> dg.RunRequest | str:
        """The answer of a job's schedule to a tick at `at`: a run, or why there is none."""
        requests = self.schedule_requests(at, job)
        if isinstance(requests, str):
            return requests
        (request,) = requests
        return request

    def schedule_requests(self, at: datetime, job: str) -> list[dg.RunRequest] | str:
        """The answer of a job's schedule to a tick at `at`: the runs that it asks for, or why there is none."""
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=at,
            repository_def=self.definitions.get_repository_def(),
            resources=self.definitions.resources,
        ) as context:
            data = self.definitions.resolve_schedule_def(f"{job}_schedule").evaluate_tick(context)
        if data.skip_message is not None:
            return data.skip_message
        assert data.run_requests is not None
        return list(data.run_requests)

    def tick_sensor(self) -> list[tuple[str, str]] | str:
        """The sensor's answer: the first and last window of each run that it asks for, or why there is none."""
        requests = self.sensor_requests()
        return requests if isinstance(requests, str) else [requested(request) for request in requests]

    def sensor_requests(self) -> list[dg.RunRequest] | str:
        """The sensor's answer: the runs that it asks for, or why there is none."""
        with dg.build_sensor_context(
            instance=self.instance,
            repository_def=self.definitions.get_repository_def(),
            resources=self.definitions.resources,
        ) as context:
            data = self.definitions.resolve_sensor_def("partner_center_flag_sensor").evaluate_tick(context)
        if data.skip_message is not None:
            return data.skip_message
        assert data.run_requests is not None
        return list(data.run_requests)

    def follow_sensor(self) -> int:
        """Do what the sensor requests until it requests nothing more; return how many runs that were."""
        runs = 0
        while isinstance(requests := self.sensor_requests(), list):
            for request in requests:
                first, last = requested(request)
                assets = [key.to_user_string() for key in request.asset_selection or ()]
                assert self.run(first, None if first == last else last, assets or None).success
                runs += 1
        return runs

    def derive_what_is_pending(self) -> None:
        """Run the later assets for the newest fetched window, as the sensor does for pending rows."""
        with self.warehouse.read() as connection:
            window = ledger.newest_fetched(connection, self.grid)
        assert window is not None
        assert self.run(window, assets=[str(asset) for asset in ledger.CHAIN[1:]]).success

    # What is stored

    def counts(self) -> dict[str, int]:
        """Rows of each content table."""
        with self.warehouse.read() as connection:
            return row_counts(connection)

    def attempts(self, window: SyncWindow) -> list[tuple[str, str | None]]:
        """State and error of each attempt at a window, in order."""
        attempts = schema.sync_attempts
        with self.warehouse.read() as connection:
            rows = connection.execute(
                select(attempts.c.state, attempts.c.error)
                .where(attempts.c.window_start == window.start)
                .order_by(attempts.c.id)
            )
            return [(row.state, row.error) for row in rows]


def requested(request: dg.RunRequest) -> tuple[str, str]:
    """The keys of the first and the last window that a run request is for."""
    tags = request.tags
    first = request.partition_key or tags[ASSET_PARTITION_RANGE_START_TAG]
    return first, tags.get(ASSET_PARTITION_RANGE_END_TAG, first)
