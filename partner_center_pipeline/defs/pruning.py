"""The job that deletes Dagster's old runs with their events and logs, and gives their space back.

Dagster itself deletes none (dagster.md, "Traps"). Which windows are done is kept in the warehouse, so no window is
fetched again. Runs that are not finished are never deleted. It also lets the warehouse forget what time asks for
(`warehouse.erasures`, `warehouse.retention`).
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final
from uuid import UUID

import dagster as dg
from filelock import FileLock, Timeout
from sqlalchemy import ColumnElement, and_, delete, func, select

from partner_center_pipeline.defs.asset_run import as_dagster_failure
from partner_center_pipeline.defs.assets.lead_report import NAME as REPORT
from partner_center_pipeline.defs.assets.lead_report import report_days
from partner_center_pipeline.defs.dagster_private import (
    AssetCheckExecutionsTable,
    LocalComputeLogManager,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
)
from partner_center_pipeline.defs.periodic import periodic_job
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.settings import Settings, home
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import erasures, retention
from partner_center_pipeline.windows import WindowGrid

MOST_RUNS: Final = 10_000
"""Runs that one run of the job deletes, at about 20 ms each. A day makes a few hundred; the rest waits a day."""

_PORTION: Final = 100
"""Runs that are read and deleted together."""

_LEFT_BEHIND_AFTER: Final = timedelta(days=1)
"""Age of a file of a run that Dagster does not know, from which it counts as left behind by a prune that was killed."""

_FREE_PART: Final = 4
"""A SQLite file is written anew when more than one part in so many of it is free. What is free is used again."""

_BUSY_SECONDS: Final = 30.0
"""Seconds that writing a SQLite file anew waits for other processes."""

_NO_RUN: Final = ""
"""What Dagster keeps as the run of an event that no run wrote."""

_SUCCEEDED: Final = (dg.DagsterRunStatus.SUCCESS,)
_FAILED: Final = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@dataclass(frozen=True, slots=True)
class OldRuns:
    """The ids of runs that are kept no longer, the oldest first."""

    succeeded: Sequence[str]
    failed: Sequence[str]

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.succeeded) + len(self.failed)


@dataclass(frozen=True, slots=True)
class Space:
    """Files and bytes of Dagster's storage in this home folder."""

    files: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Pruned:
    """What was deleted, or would be (`is_dry`)."""

    is_dry: bool
    succeeded: int = 0
    failed: int = 0
    later: int = 0
    """Runs that are old and wait for the next time."""
    logs_of_ticks: int = 0
    left_behind: int = 0
    """Runs that Dagster knew no longer, of which files were left."""
    events_of_no_run: int = 0
    """What commands and the sensor of covered windows told of assets."""
    before: Space = field(default_factory=Space)
    after: Space = field(default_factory=Space)
    """For a dry run: what would be left, if no SQLite file that all runs share were written anew."""
    not_written_anew: list[str] = field(default_factory=list)
    """SQLite files whose free space could not be given back, with the reason."""

    def shown(self) -> dict[str, int | str]:
        """Return the figures by the names that people see."""
        return {
            "succeeded_runs": self.succeeded,
            "failed_runs": self.failed,
            "runs_left_for_later": self.later,
            "logs_of_ticks": self.logs_of_ticks,
            "left_behind": self.left_behind,
            "events_of_no_run": self.events_of_no_run,
            "files_before": self.before.files,
            "files_after": self.after.files,
            "bytes_before": self.before.bytes,
            "bytes_after": self.after.bytes,
            "not_written_anew": "; ".join(self.not_written_anew),
        }


class PruneBusyError(Exception):
    """Another prune is at work on this home folder."""

    def __init__(self) -> None:
        super().__init__(
            "another prune is at work on this home folder; it deletes what is old, so nothing is to be done"
        )


class _Storage:
    """Where Dagster's storage keeps files in this home folder. With PostgreSQL only logs are files."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.artifacts = Path(instance.storage_directory()).resolve()
        self.runs: Path | None = None
        self.databases: list[Path] = []
        self.logs: Path | None = None
        events, manager = instance.event_log_storage, instance.compute_log_manager
        if isinstance(events, SqliteEventLogStorage):
            index = Path(events.path_for_shard("index")).resolve()
            self.runs = index.parent
            # `storage: sqlite` in dagster.yaml puts them there; elsewhere they are looked for in vain, and left alone.
            base = index.parent.parent.parent
            of_no_run = self.runs / f"{_NO_RUN}.db"
            paths = (index, of_no_run, base / "history/runs.db", base / "schedules/schedules.db")
            self.databases = [path for path in paths if path.is_file()]
        if isinstance(manager, LocalComputeLogManager):
            self.logs = Path(manager.get_captured_local_path(["any"], "err")).parent

    def files_of(self, run_id: str) -> list[Path]:
        """Return the files of a run and the folders in which it has files."""
        folders = [self.artifacts / run_id, *([self.logs / run_id] if self.logs else [])]
        events = [self.runs / f"{run_id}.db{end}" for end in ("", "-wal", "-shm", "-journal")] if self.runs else []
        return [path for path in (*folders, *events) if path.exists()]

    def space(self) -> Space:
        """Return what all files take, SQLite's logs beside the databases included."""
        databases = [file for path in self.databases for file in path.parent.glob(f"{path.name}*")]
        paths = (self.artifacts, *databases, *(path for path in (self.runs, self.logs) if path is not None))
        return _space({file for path in paths for file in _files(path)})

    def run_ids(self, older_than: datetime) -> set[str]:
        """Return the ids of runs that have files last written before an instant (UTC)."""
        folders = [path for path in (self.runs, self.logs, self.artifacts) if path is not None and path.is_dir()]
        return {
            path.stem
            for folder in folders
            for path in folder.iterdir()
            if _is_run_id(path.stem) and _written_before(path, older_than)
        }

    def logs_of_ticks(self, older_than: datetime) -> set[tuple[str, ...]]:
        """Return the keys of logs of schedules, sensors and backfills last written before an instant (UTC)."""
        if self.logs is None or not self.logs.is_dir():
            return set()
        return {
            (*file.relative_to(self.logs).parent.parts, file.stem)
            for folder in self.logs.iterdir()
            if not _is_run_id(folder.name)
            for file in _files(folder)
            if _written_before(file, older_than)
        }


def old_runs(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> OldRuns:
    """Find the runs that ended before the times that the settings say. `now` is UTC.

    Some are not among them, however old: the newest run and the newest successful one of each job, and the last that
    materialized an asset. The pages of jobs and assets show them, the report asks when the last one was made, and
    Dagster gives the number of its newest event again when that is deleted.
    """
    newest: dict[str, set[str]] = {}
    last = _last_to_materialize(instance)
    succeeded = _ended(instance, _SUCCEEDED, now - timedelta(days=settings.dagster_runs_kept_days), newest)
    failed = _ended(instance, _FAILED, now - timedelta(days=settings.dagster_failed_runs_kept_days), newest)
    return OldRuns([one for one in succeeded if one not in last], [one for one in failed if one not in last])


def _ended(
    instance: dg.DagsterInstance,
    statuses: Sequence[dg.DagsterRunStatus],
    before: datetime,
    newest: dict[str, set[str]],
) -> Iterator[str]:
    chosen, cursor = dg.RunsFilter(statuses=statuses, updated_before=before), None
    while records := instance.get_run_records(chosen, limit=_PORTION, ascending=True, cursor=cursor):
        for record in records:
            run = record.dagster_run
            if run.job_name not in newest:
                newest[run.job_name] = _newest(instance, run.job_name)
            if run.run_id not in newest[run.job_name]:
                yield run.run_id
        cursor = records[-1].dagster_run.run_id


def _last_to_materialize(instance: dg.DagsterInstance) -> set[str]:
    records = instance.get_asset_records([dg.AssetKey(name) for name in (*map(str, Asset), REPORT)])
    events = (record.asset_entry.last_materialization for record in records)
    return {event.run_id for event in events if event is not None}


def _newest(instance: dg.DagsterInstance, job_name: str) -> set[str]:
    filters = (dg.RunsFilter(job_name=job_name), dg.RunsFilter(job_name=job_name, statuses=_SUCCEEDED))
    return {record.dagster_run.run_id for chosen in filters for record in instance.get_run_records(chosen, limit=1)}


def would_prune(instance: dg.DagsterInstance, old: OldRuns, settings: Settings, now: datetime) -> Pruned:
    """Return what `prune` would delete. Changes nothing."""
    storage = _Storage(instance)
    before = storage.space()
    run_ids = [*old.succeeded, *old.failed]
    left = _left_behind(instance, storage, now)
    ticks = storage.logs_of_ticks(_logs_end(settings, now))
    going = {file for run_id in (*run_ids, *left) for path in storage.files_of(run_id) for file in _files(path)}
    if storage.logs is not None:
        going |= {file for key in ticks for file in storage.logs.joinpath(*key[:-1]).glob(f"{key[-1]}.*")}
    freed = _space(going)
    return Pruned(
        is_dry=True,
        succeeded=len(old.succeeded),
        failed=len(old.failed),
        logs_of_ticks=len(ticks),
        left_behind=len(left),
        events_of_no_run=_old_events_of_no_run(instance, _logs_end(settings, now)),
        before=before,
        after=Space(before.files - freed.files, before.bytes - freed.bytes),
    )


def prune(
    instance: dg.DagsterInstance,
    grid: WindowGrid,
    old: OldRuns,
    settings: Settings,
    now: datetime,
    *,
    most: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Pruned:
    """Delete old runs, at most `most`, with their events and logs, and logs of ticks of that age. `now` is UTC.

    What a killed prune has left behind is deleted by the next one. `progress` gets the number of runs done. Raises
    PruneBusyError while another process does the same.
    """
    with _alone():
        return _prune(instance, grid, old, settings, now, most, progress)


@contextmanager
def _alone() -> Iterator[None]:
    folder = home() / ".hunter"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        lock = FileLock(folder / "prune.lock").acquire(timeout=0)
    except Timeout:
        raise PruneBusyError from None
    with lock:
        yield


def _prune(
    instance: dg.DagsterInstance,
    grid: WindowGrid,
    old: OldRuns,
    settings: Settings,
    now: datetime,
    most: int | None,
    progress: Callable[[int], None],
) -> Pruned:
    storage = _Storage(instance)
    done = Pruned(is_dry=False, before=storage.space())
    _note_what_is_materialized(instance, grid)
    chosen = islice((*((run, True) for run in old.succeeded), *((run, False) for run in old.failed)), most)
    while portion := list(islice(chosen, _PORTION)):
        for run_id, has_succeeded in portion:
            instance.delete_run(run_id)
            _delete_files(instance, storage, run_id)
            done.succeeded += has_succeeded
            done.failed += not has_succeeded
            progress(done.succeeded + done.failed)
        _delete_checks(instance, [run_id for run_id, _ in portion])
    done.later = old.count - done.succeeded - done.failed
    for run_id in _left_behind(instance, storage, now):
        instance.event_log_storage.delete_events(run_id)
        _delete_files(instance, storage, run_id)
        done.left_behind += 1
    for key in storage.logs_of_ticks(_logs_end(settings, now)):
        instance.compute_log_manager.delete_logs(log_key=key)
        done.logs_of_ticks += 1
    done.events_of_no_run = _delete_events_of_no_run(instance, _logs_end(settings, now))
    done.not_written_anew = [reason for path in storage.databases if (reason := _write_anew(path)) is not None]
    done.after = storage.space()
    return done


def partitions_of_assets(grid: WindowGrid) -> Mapping[str, dg.PartitionsDefinition[str]]:
    """Return the partitions of each asset that has some."""
    return {**{str(asset): grid.partitions() for asset in Asset}, REPORT: report_days(grid)}


def _note_what_is_materialized(instance: dg.DagsterInstance, grid: WindowGrid) -> None:
    """Let Dagster write down which partitions are materialized: with a run it deletes the events that say so.

    It keeps them as ranges beside the asset, reads only newer events each time, and shows them in the UI.
    """
    for asset, partitions in partitions_of_assets(grid).items():
        instance.get_status_by_partition(dg.AssetKey(asset), [], partitions)


def _delete_files(instance: dg.DagsterInstance, storage: _Storage, run_id: str) -> None:
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    for path in storage.files_of(run_id):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _delete_checks(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Delete the results of checks of deleted runs, but for the newest of each check. Dagster leaves them all."""
    events, table = instance.event_log_storage, AssetCheckExecutionsTable
    if isinstance(events, SqlEventLogStorage):
        newest = select(func.max(table.c.id)).group_by(table.c.asset_key, table.c.check_name)
        with events.index_connection() as connection:
            connection.execute(delete(table).where(table.c.run_id.in_(run_ids), table.c.id.not_in(newest)))


def _is_old_and_of_no_run(before: datetime) -> ColumnElement[bool]:
    """Return the condition for events that no run wrote before an instant (UTC), but the newest of a kind and asset.

    Commands write them (`rescan`, `reconcile`), and the sensor of covered windows, five a window. Those that say that a
    window is materialized may go, as the others do: Dagster has noted it beside the asset.
    """
    table = SqlEventLogStorageTable
    of_no_run = table.c.run_id == _NO_RUN
    newest = select(func.max(table.c.id)).where(of_no_run).group_by(table.c.asset_key, table.c.dagster_event_type)
    return and_(of_no_run, table.c.timestamp < before.replace(tzinfo=None), table.c.id.not_in(newest))


def _old_events_of_no_run(instance: dg.DagsterInstance, before: datetime) -> int:
    events = instance.event_log_storage
    if not isinstance(events, SqlEventLogStorage):
        return 0
    with events.index_connection() as connection:
        query = select(func.count()).select_from(SqlEventLogStorageTable).where(_is_old_and_of_no_run(before))
        return connection.scalar(query) or 0


def _delete_events_of_no_run(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete what no run wrote before an instant (UTC), with its results of checks. Dagster never does."""
    events = instance.event_log_storage
    if not isinstance(events, SqlEventLogStorage):
        return 0
    table, checks = SqlEventLogStorageTable, AssetCheckExecutionsTable
    with events.index_connection() as connection:
        deleted = connection.execute(delete(table).where(_is_old_and_of_no_run(before))).rowcount
        newest = select(func.max(checks.c.id)).group_by(checks.c.asset_key, checks.c.check_name)
        is_old = checks.c.evaluation_event_timestamp < before.replace(tzinfo=None)
        connection.execute(delete(checks).where(checks.c.run_id == _NO_RUN, is_old, checks.c.id.not_in(newest)))
    # SQLite's storage keeps each event twice: here, and in a file of its run.
    if isinstance(events, SqliteEventLogStorage) and Path(events.path_for_shard(_NO_RUN)).is_file():
        with events.run_connection(_NO_RUN) as connection:
            connection.execute(delete(table).where(_is_old_and_of_no_run(before)))
    return deleted


def _left_behind(instance: dg.DagsterInstance, storage: _Storage, now: datetime) -> list[str]:
    """Return the ids of runs that have files, but which Dagster does not know."""
    found = sorted(storage.run_ids(now - _LEFT_BEHIND_AFTER))
    known: set[str] = set()
    for start in range(0, len(found), _PORTION):
        portion = dg.RunsFilter(run_ids=found[start : start + _PORTION])
        known |= {run.run_id for run in instance.get_runs(portion)}
    return [run_id for run_id in found if run_id not in known]


def _logs_end(settings: Settings, now: datetime) -> datetime:
    return now - timedelta(days=settings.dagster_runs_kept_days)


def _write_anew(path: Path) -> str | None:
    """Write a SQLite file anew where much of it is free. Returns why it was left as it is, or None."""
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
        try:
            (free,), (pages,) = (
                connection.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_count")
            )
            if free * _FREE_PART > pages:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:  # busy, or the disk is full: what is free is used by the next runs
            return f"{path.name}: {error}"
    return None


def _files(path: Path) -> Iterator[Path]:
    """Yield the files at or below a path."""
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file())
    elif path.is_file():
        yield path


def _space(files: Iterable[Path]) -> Space:
    count = size = 0
    for file in files:
        with suppress(FileNotFoundError):  # a run beside this one has ended and closed it
            size += file.stat().st_size
            count += 1
    return Space(count, size)


def _written_before(path: Path, instant: datetime) -> bool:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC) < instant
    except FileNotFoundError:
        return False


def _is_run_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


@dg.op(
    name="delete_old_runs",
    out=dg.Out(dg.Nothing),
    description="Deletes runs that succeeded more than HUNTER_DAGSTER_RUNS_KEPT_DAYS ago, and those that failed more "
    "than HUNTER_DAGSTER_FAILED_RUNS_KEPT_DAYS ago, with their events and logs. Windows stay materialized. Folds "
    "attempts older than HUNTER_ATTEMPTS_KEPT_DAYS into sums of a day. Empties the contacts of referrals that were "
    "closed more than HUNTER_CLOSED_CONTACTS_DAYS ago, where that is set.",
)
def _delete_old_runs(context: dg.OpExecutionContext, grid: GridParam, warehouse: WarehouseResource) -> None:
    with as_dagster_failure():
        settings, now = Settings.load(), utc_now()
        old = old_runs(context.instance, settings, now)
        shown: dict[str, int | str] = {}
        try:
            done = prune(context.instance, grid, old, settings, now, most=MOST_RUNS)
        except PruneBusyError as error:
            context.log.info(str(error))
        else:
            for reason in done.not_written_anew:
                context.log.warning(f"free space was not given back: {reason}; the next run of this job tries again")
            shown = done.shown()
        with warehouse.open() as db:
            personal = erasures.prune_personal_data(db, now)
            forgotten = retention.forget(db, settings, now)
        if unforgotten := personal["warehouse_not_written_anew"]:
            context.log.warning(f"free space of the warehouse still holds contacts that were emptied: {unforgotten}")
        context.add_output_metadata({**shown, **personal, **forgotten})


PRUNING: Final = periodic_job(
    _delete_old_runs,
    name="partner_center_prune",
    noun="deletion of old runs",
    description="Dagster's old runs, their events and logs are deleted, and their space is given back.",
    cron="47 3 * * *",
    when="Daily, in the night (UTC).",
    gated=False,
    tags={},
    reason_to_skip=lambda _: None,
)
