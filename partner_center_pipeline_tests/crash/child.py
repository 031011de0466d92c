"""What the killed process and the next one do: windows through Dagster, in a home folder of their own.

They are forked from a server that has loaded the imports (`preload`). Not here: where a process is killed
(`failpoints`), what must be true afterwards (`sweep`).
"""

import ctypes
import faulthandler
import gc
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGKILL
from typing import Any, Final

import dagster as dg
import pandas  # noqa: F401  imported once, ahead of the fork
from dagster_shared.yaml_utils import load_yaml_from_path
from sqlalchemy import update

from partner_center_pipeline.cli.base import enter_home
from partner_center_pipeline.definitions import batch_events
from partner_center_pipeline.defs.dagster_private import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.warehouse import bulk, lease, ledger, pending, schema, signals
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.crash.content import SEEN_AGAIN, contents
from partner_center_pipeline_tests.crash.failpoints import FAILPOINTS
from partner_center_pipeline_tests.dagster_storage import keep_engines
from partner_center_pipeline_tests.defs.project import load_definitions

CHUNK: Final = 8
"""Rows per transaction of the later assets: several transactions each, with some dozens of referrals."""

RUNS: Final = ((0, 0), (1, 4), (5, 5))
"""The first and the last window of each run: the genesis window, a range, a single window."""

_LATE: Final = 240.0
"""Seconds after which a process writes to its log what it waits for; the sweep ends it some time later."""

_PR_SET_PDEATHSIG: Final = 1
"""An option of Linux's prctl: when the sweep ends, this process gets the given signal."""

_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True)
class Place:
    """A process's home folder and HUNTER_ variables."""

    home: Path
    variables: Mapping[str, str]

    @property
    def log(self) -> Path:
        """What its processes wrote to stdout and stderr."""
        return self.home / "log"

    @property
    def before(self) -> Path:
        """Where `resume` writes the content of the warehouse before its replay."""
        return self.home / "before.json"


def prepare(place: Place) -> None:
    """Make Dagster's storage in a home folder, for other places to begin with a copy of it."""
    config: Any = load_yaml_from_path(str(PROJECT_ROOT / "dagster.yaml"))
    text = json.dumps(_with_one_event_log(config))  # JSON is YAML
    (place.home / "dagster.yaml").write_text(text, encoding="utf-8")
    with _entered(place), dg.DagsterInstance.get():
        pass


def _with_one_event_log(config: dict[str, Any]) -> dict[str, Any]:
    """Return the project's configuration of Dagster with the events of all runs in one SQLite file.

    The project's storage makes a file with all its tables for each run.
    """
    base = config.pop("storage")["sqlite"]["base_dir"]
    storages = {
        "run_storage": ("runs", "SqliteRunStorage"),
        "event_log_storage": ("event_log", "ConsolidatedSqliteEventLogStorage"),
        "schedule_storage": ("schedules", "SqliteScheduleStorage"),
    }
    for name, (module, kind) in storages.items():
        config[name] = {
            "module": f"dagster._core.storage.{module}",
            "class": kind,
            "config": {"base_dir": f"{base}/{name}"},
        }
    config["compute_logs"] = {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
    return config


def work(place: Place, failpoint: str | None) -> None:
    """Run what is not done yet. Be killed at the failpoint of this name, if one is given."""
    with _entered(place) as (settings, db), dg.DagsterInstance.get() as instance:
        if failpoint is not None:
            next(point for point in FAILPOINTS if point.name == failpoint).arm()
        _run_what_is_not_done(instance, settings, db)


def resume(place: Place) -> None:
    """Run what is not done yet, write the warehouse's content to `place.before`, and run all windows once more."""
    with _entered(place) as (settings, db), dg.DagsterInstance.get() as instance:
        _run_what_is_not_done(instance, settings, db)
        place.before.write_text(json.dumps(contents(db, SEEN_AGAIN)))
        _sync(instance, settings, RUNS[0][0], RUNS[-1][-1])


def _run_what_is_not_done(instance: dg.DagsterInstance, settings: Settings, db: Warehouse) -> None:
    if not db.is_current():
        db.migrate()
    _end_dead_runs(instance, db)
    with connect_sign_in(settings) as sign_in:
        sign_in.token(renew=True)
    for first, last in RUNS:
        start, end = _interval(settings, first, last)
        with db.read() as connection:
            done = ledger.covered(connection)
        if not any(low <= start and end <= high for low, high in done):
            _sync(instance, settings, first, last)
    _rescan(instance, settings, db)


@contextmanager
def _entered(place: Place) -> Iterator[tuple[Settings, Warehouse]]:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, SIGKILL)  # Dagster would treat another signal as an interrupted step
    log = place.log.open("a")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    faulthandler.dump_traceback_later(_LATE, file=log)
    gc.disable()  # the collector would walk through all that was loaded ahead of the fork, again and again
    for name in [name for name in os.environ if name.upper().startswith("HUNTER_")]:
        del os.environ[name]
    os.environ.update(place.variables, HUNTER_HOME=str(place.home))
    enter_home()
    batch_events()
    os.environ["DAGSTER_HOME"] = str(place.home)  # `prepare` wrote a dagster.yaml there
    keep_engines(pool=None)
    for module in (bulk, pending, signals):
        module.CHUNK = CHUNK  # type: ignore[attr-defined]
    # A killed process's lease expires while the next process starts, so that the sweep need not wait.
    lease.LEASE_SECONDS, lease.BEAT_SECONDS = 0.5, 0.1  # type: ignore[misc]
    lease.SILENT_SECONDS, lease.DOUBT_SECONDS = 0.0, 0.0  # type: ignore[misc]
    settings = Settings.load()
    db = Warehouse(settings.database_url.get_secret_value())
    try:
        yield settings, db
    finally:
        db.close()
        faulthandler.cancel_dump_traceback_later()
        sys.stdout.flush()


def _end_dead_runs(instance: dg.DagsterInstance, db: Warehouse) -> None:
    from partner_center_pipeline.defs.recovery import end_dead_runs

    for _ in range(2):  # a run without a heartbeat is watched from the first call on
        end_dead_runs(instance, db, lambda: datetime.now(UTC))


def _interval(settings: Settings, first: int, last: int) -> tuple[int, int]:
    grid = settings.grid
    assert grid.first is not None
    return grid.first + first * grid.width, grid.first + (last + 1) * grid.width


def _sync(instance: dg.DagsterInstance, settings: Settings, first: int, last: int) -> None:
    start, end = _interval(settings, first, last)
    low, high = settings.grid.window(start).key, settings.grid.window(end - settings.grid.width).key
    partitions: dict[str, Any] = (
        {"partition_key": low}
        if first == last
        else {"tags": {ASSET_PARTITION_RANGE_START_TAG: low, ASSET_PARTITION_RANGE_END_TAG: high}}
    )
    _run(instance, settings, "partner_center_sync", **partitions)


def _rescan(instance: dg.DagsterInstance, settings: Settings, db: Warehouse) -> None:
    with db.write() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=1)
        connection.execute(update(schema.domain_signals).values(next_scan_at=long_ago))
    _run(instance, settings, "partner_center_rescan")


def _run(instance: dg.DagsterInstance, settings: Settings, job: str, **which: Any) -> None:
    definitions = load_definitions(settings.grid)
    result = definitions.resolve_job_def(job).execute_in_process(instance=instance, run_config=_QUIET, **which)
    assert result.success, _failures(result.get_step_failure_events())


def _failures(events: Sequence[dg.DagsterEvent]) -> list[str]:
    return [str(event.step_failure_data.error) for event in events]
