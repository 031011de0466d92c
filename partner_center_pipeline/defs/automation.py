"""The job, the schedule, the sensor, and the one gate that they and raw_referrals share.

The flag HUNTER_PARTNER_CENTER_ENABLED is the one switch: schedule and sensor are on by default and skip, with a reason
a person understands, while it is off. Settings are read anew at each tick, so an edited `.env` counts without a
restart. Partitioned schedules never catch up in Dagster (#10335), so the sensor asks for every due window that the
project's own ledger misses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import dagster as dg
from dagster._core.definitions.partitions.subset import TimeWindowPartitionsSubset
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from partner_center_pipeline.defs.grid import GRID, PARTITIONS
from partner_center_pipeline.defs.recovery import end_dead_runs
from partner_center_pipeline.defs.resources import WarehouseResource, utc_now
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse import breaker, ledger
from partner_center_pipeline.warehouse.database import WarehouseError
from partner_center_pipeline.warehouse.schema import Asset
from partner_center_pipeline.windows import WINDOWS_WARNING, SyncWindow, catch_up, datetime_of, ticks_of

JOB_NAME: Final = "partner_center_sync"
DISABLED: Final = (
    "Partner Center integration is disabled: set HUNTER_PARTNER_CENTER_ENABLED=true in .env to switch it on"
)
MOST_REQUESTS: Final = 10
"""Runs that one tick of the sensor asks for: enough to keep the queue busy, few enough to read."""

LEFT_TO_THE_SCHEDULE: Final = timedelta(seconds=90)
"""For how long a window that fell due is the schedule's alone. It ticks up to a minute later (its lag is rounded up to
minutes), and its run shows a moment after that; without this, both would ask for the window."""

_BACKOFF_FIRST: Final = timedelta(minutes=1)
_BACKOFF_MOST: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the pipeline may talk to Microsoft now: `settings` when it may, else the reason."""

    settings: Settings | None
    reason: str


def gate() -> Gate:
    """The one gate. Reads HUNTER_PARTNER_CENTER_ENABLED and all other settings anew, `.env` first."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        return Gate(None, str(error))
    if not settings.partner_center_enabled:
        return Gate(None, DISABLED)
    if settings.sync_start is None:
        return Gate(None, "HUNTER_SYNC_START is not set: set it in .env, e.g. 2026-01-01T00:00:00Z, then restart")
    if settings.grid != GRID:
        return Gate(
            None,
            "HUNTER_SYNC_START, HUNTER_PARTNER_CENTER_POLL_INTERVAL_SECONDS or "
            "HUNTER_PARTNER_CENTER_SAFETY_LAG_SECONDS changed since this code location was loaded: restart it, or "
            "press Reload on the Deployment page",
        )
    return Gate(settings, "")


partner_center_sync = dg.define_asset_job(
    JOB_NAME,
    selection=dg.AssetSelection.assets(*(str(asset) for asset in Asset)),
    partitions_def=PARTITIONS,
    executor_def=dg.in_process_executor,
    description="The whole chain for a sync window, or for a range of at most a day of windows.",
    # A permanent error is not to be repeated by run retries (one project logged 5,363 retries of one 405).
    tags={"dagster/retry_on_asset_or_op_failure": "false"},
)


@dg.schedule(
    name="partner_center_sync_schedule",
    job=partner_center_sync,
    cron_schedule=GRID.cron,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each window, the safety lag after its end.",
)
def partner_center_sync_schedule(
    context: dg.ScheduleEvaluationContext, warehouse: WarehouseResource
) -> dg.RunRequest | dg.SkipReason:
    """One run for the window that ended the safety lag before this tick."""
    opened = gate()
    if opened.settings is None:
        return dg.SkipReason(opened.reason)
    window = GRID.tick_window(context.scheduled_execution_time)
    if window is None:
        return dg.SkipReason("no sync window has ended since HUNTER_SYNC_START")
    try:
        with warehouse.open() as house:
            end_dead_runs(context.instance, house, utc_now)
            with house.read() as connection:
                done = ledger.covered(connection)
                broken = breaker.load(connection)
    except WarehouseError as error:
        return dg.SkipReason(str(error))
    if broken.rests(utc_now()):
        return dg.SkipReason(str(broken))
    if any(low <= window.start and window.end <= high for low, high in done):
        return dg.SkipReason(f"window {window.key} is done already")
    if any(low < window.end and window.start < high for low, high in _busy(context.instance)):
        return dg.SkipReason(f"a run is already working on window {window.key}")
    return _request(window, window.end)


@dg.sensor(
    name="partner_center_flag_sensor",
    job=partner_center_sync,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="While the flag is on: every due window that was missed, or whose chain stopped half-way.",
)
def partner_center_flag_sensor(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """A run for each contiguous gap, at most a day of windows, the oldest first, none that a run works on."""
    opened = gate()
    if opened.settings is None:
        return dg.SkipReason(opened.reason)
    now = utc_now()
    _warn_of_many(context, now)
    requests: list[dg.RunRequest] = []
    resting: list[str] = []
    try:
        with warehouse.open() as house:
            for run_id in end_dead_runs(context.instance, house, utc_now):
                context.log.warning(f"run {run_id} gave no sign of life; it is ended, its windows are free")
            busy = list(_busy(context.instance))
            with house.read() as connection:
                broken = breaker.load(connection)
                if broken.rests(now):
                    return dg.SkipReason(str(broken))
                most = 1 if broken.tripped else MOST_REQUESTS  # after a rest one run tries, not a queue of them
                for start, end in catch_up(GRID, now - LEFT_TO_THE_SCHEDULE, ledger.covered(connection), busy):
                    if len(requests) == most:
                        break
                    again = _may_try_again(ledger.tries(connection, start, end))
                    if again is not None and now < again:
                        resting.append(f"{GRID.window(start).key} (again after {again:%H:%M:%S} UTC)")
                    else:
                        requests.append(_request(GRID.window(start), end))
    except WarehouseError as error:
        return dg.SkipReason(str(error))
    if requests:
        return requests
    if resting:
        return dg.SkipReason("waiting before another try at " + ", ".join(resting[:MOST_REQUESTS]))
    if busy:
        return dg.SkipReason("every window that was missed is done, or a run is working on it")
    return dg.SkipReason("no window was missed")


def _request(first: SyncWindow, end: int) -> dg.RunRequest:
    """A run of the job for the windows from `first` to the one that ends at `end` (ticks).

    Without a run key: a key is never used again, not even after a failure (#15982).
    """
    last = GRID.window(end - GRID.width)
    if first.start == last.start:
        return dg.RunRequest(partition_key=first.key)
    return dg.RunRequest(tags={ASSET_PARTITION_RANGE_START_TAG: first.key, ASSET_PARTITION_RANGE_END_TAG: last.key})


def _may_try_again(tried: ledger.Tries) -> datetime | None:
    """When a stretch may be tried again: at once the first time, then after 1, 2, 4, ... minutes, at most an hour."""
    if tried.last is None:
        return None
    wait: timedelta = min(_BACKOFF_FIRST * 2 ** min(tried.count - 1, 10), _BACKOFF_MOST)
    return tried.last + wait


def _busy(instance: dg.DagsterInstance) -> Iterator[tuple[int, int]]:
    """The intervals of ticks that unfinished runs and backfills are working on, or are about to."""
    for record in instance.get_run_records(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
        tags = record.dagster_run.tags
        first = tags.get(ASSET_PARTITION_RANGE_START_TAG) or tags.get(PARTITION_NAME_TAG)
        last = tags.get(ASSET_PARTITION_RANGE_END_TAG) or first
        if first and last:
            yield from _interval(first, last)
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])):
        for key in backfill.partition_names or ():
            yield from _interval(key, key)
        data = backfill.asset_backfill_data
        for subset in data.target_subset.partitions_subsets_by_asset_key.values() if data else ():
            if isinstance(subset, TimeWindowPartitionsSubset):
                for stretch in subset.included_time_windows:
                    yield ticks_of(stretch.start), ticks_of(stretch.end)


def _interval(first: str, last: str) -> Iterator[tuple[int, int]]:
    try:
        low, high = GRID.window_of_key(first), GRID.window_of_key(last)
    except ValueError:
        return  # a run of other assets, or of a grid that is no more; raw_referrals refuses it by itself
    yield low.start, high.end


def _warn_of_many(context: dg.SensorEvaluationContext, now: datetime) -> None:
    last = GRID.last_due(now)
    if GRID.first is not None and last is not None and (last.end - GRID.first) // GRID.width > WINDOWS_WARNING:
        context.log.warning(
            f"there are more than {WINDOWS_WARNING} sync windows since HUNTER_SYNC_START ({datetime_of(GRID.first)}); "
            "move it forward: what is synced stays synced, and the UI stays fast"
        )
