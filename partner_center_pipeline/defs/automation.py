"""Where runs are requested: the sync job, its schedule, and the sensor that finds missed windows.

Schedule and sensor are on by default, and skip with a reason while the gate is closed. Partitioned schedules never
catch up in Dagster (dagster.md, trap 2), so the sensor requests every due window that the project's own ledger misses,
and a run of the later assets where rows are pending and no window is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Final

import dagster as dg
from sqlalchemy import Connection

from partner_center_pipeline.defs.dagster_private import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    BulkActionsFilter,
    BulkActionStatus,
    TimeWindowPartitionsSubset,
)
from partner_center_pipeline.defs.executor import EXECUTOR
from partner_center_pipeline.defs.gate import GateClosedError, gate
from partner_center_pipeline.defs.hourly_checks import KEYS as HOURLY
from partner_center_pipeline.defs.periodic import NO_RUN_RETRIES, UNFINISHED, logged
from partner_center_pipeline.defs.recovery import end_dead_runs
from partner_center_pipeline.defs.resources import WarehouseResource, utc_now
from partner_center_pipeline.defs.window_figures import WINDOWS_TAG, in_words
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import breaker, ledger, pending
from partner_center_pipeline.warehouse.database import WarehouseError
from partner_center_pipeline.windows import (
    WINDOWS_WARNING,
    SyncWindow,
    WindowGrid,
    catch_up,
    cut_refused,
    datetime_of,
    held_back,
    newest_first,
    ticks_of,
)

JOB_NAME: Final = "partner_center_sync"
MOST_REQUESTS: Final = 10
"""Runs that one tick of the sensor requests: enough to keep the queue busy, few enough to read."""

PRIORITY_TAG: Final = "dagster/priority"
MOST_UNFINISHED: Final = 10
"""Runs of the job that may wait or work before the sensor requests older windows: a backlog of months is no queue."""

PENDING_LEFT_TO_RUNS: Final = timedelta(minutes=15)
"""How long rows may be pending while runs work. A run that ends well derives them; one that fails does not."""

FAILURES_COUNTED: Final = timedelta(days=1)
"""For how long failed runs that derive what is pending count. In a day of failures there are more than enough."""

LIVE: Final = {PRIORITY_TAG: "10"}
"""The tag of a run for the newest window: Dagster takes it from the queue before the backlog."""

LEFT_TO_THE_SCHEDULE: Final = timedelta(seconds=90)
"""How long the sensor leaves a due window to the schedule. The schedule ticks up to a minute later (its lag is rounded
up to minutes), and its run shows a moment after that; without this, both would request the window."""

CHAIN_ASSETS: Final = [dg.AssetKey(str(asset)) for asset in Asset]
LATER_ASSETS: Final = [dg.AssetKey(str(asset)) for asset in ledger.CHAIN[1:]]
WHAT_IS_PENDING: Final = {"partner_center/what_is_pending": "true"}
"""The tag of a run that derives what is pending, without fetching."""

_BACKOFF_FIRST: Final = timedelta(minutes=1)
_BACKOFF_MOST: Final = timedelta(hours=1)


SYNC_JOB: Final = dg.define_asset_job(
    JOB_NAME,
    selection=dg.AssetSelection.assets(*(str(asset) for asset in Asset)) - dg.AssetSelection.checks(*HOURLY),
    executor_def=EXECUTOR,
    description="The whole chain for a sync window, or for a range of at most a day of windows.",
    tags=NO_RUN_RETRIES,
)


def sync_schedule(grid: WindowGrid) -> dg.ScheduleDefinition:
    """Make the schedule that runs each window, the safety lag after its end."""

    @dg.schedule(
        name=f"{JOB_NAME}_schedule",
        job_name=JOB_NAME,
        cron_schedule=grid.cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Each window, the safety lag after its end.",
    )
    def schedule(context: dg.ScheduleEvaluationContext, warehouse: WarehouseResource) -> dg.RunRequest | dg.SkipReason:
        try:
            gate(grid)
            answer = _window_of_tick(context, grid, warehouse)
        except (GateClosedError, WarehouseError) as error:
            answer = dg.SkipReason(str(error))
        return logged(context, answer)

    return schedule


def _window_of_tick(
    context: dg.ScheduleEvaluationContext, grid: WindowGrid, warehouse: WarehouseResource
) -> dg.RunRequest | dg.SkipReason:
    """Request a run for the window that ended the safety lag before this tick."""
    window = grid.tick_window(context.scheduled_execution_time)
    if window is None:
        return dg.SkipReason("no sync window has ended since HUNTER_SYNC_START")
    with warehouse.open() as db:
        end_dead_runs(context.instance, db, utc_now)
        with db.read() as connection:
            done = ledger.covered(connection)
            resting = breaker.resting(connection, utc_now)
    if resting is not None:
        return dg.SkipReason(str(resting))
    if any(low <= window.start and window.end <= high for low, high in done):
        return dg.SkipReason(f"window {window.key} is done already")
    if any(low < window.end and window.start < high for low, high in worked_on(context.instance, grid)):
        return dg.SkipReason(f"a run is already working on window {window.key}")
    return _request(grid, window, window.end, LIVE)


def flag_sensor(grid: WindowGrid) -> dg.SensorDefinition:
    """Make the sensor that asks for missed windows while the flag is on."""

    @dg.sensor(
        name="partner_center_flag_sensor",
        job_name=JOB_NAME,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="While the flag is on: every due window that was missed, or whose chain stopped half-way.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, warehouse: WarehouseResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        try:
            gate(grid)
            answer = _missed_windows(context, grid, warehouse)
        except (GateClosedError, WarehouseError) as error:
            answer = dg.SkipReason(str(error))
        return logged(context, answer)

    return sensor


def _missed_windows(
    context: dg.SensorEvaluationContext, grid: WindowGrid, warehouse: WarehouseResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request runs for the windows that were missed, and one for what is pending in windows that are fetched."""
    now = utc_now()
    _warn_of_many(context, grid, now)
    with warehouse.open() as db:
        for run_id in end_dead_runs(context.instance, db, utc_now):
            context.log.warning(f"run {run_id} gave no sign of life; it is ended, its windows are free")
        busy = list(worked_on(context.instance, grid))
        unfinished = context.instance.get_runs_count(dg.RunsFilter(job_name=JOB_NAME, statuses=UNFINISHED))
        with db.read() as connection:
            asked = _gaps(connection, grid, now, busy, unfinished)
            derive = _what_is_pending(context.instance, connection, grid, now, working=bool(busy))
    return asked if derive is None else [derive, *(asked if isinstance(asked, list) else [])]


def _gaps(
    connection: Connection, grid: WindowGrid, now: datetime, busy: Sequence[tuple[int, int]], unfinished: int
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request a run for each contiguous gap, at most a day of windows, none that a run works on.

    In a backlog the newest due window comes first, then the oldest. Not more than MOST_UNFINISHED runs wait or work,
    but the newest window is requested in any case. What was refused again and again is requested in halves.
    """
    if (resting := breaker.resting(connection, lambda: now)) is not None:
        return dg.SkipReason(str(resting))
    requests: list[dg.RunRequest] = []
    waiting: list[str] = []
    most = 1 if breaker.load(connection).tripped else MOST_REQUESTS  # after a rest one run tries, not a queue of them
    asked_until = held_back(now, ledger.clock_skew(connection, now)) - LEFT_TO_THE_SCHEDULE
    newest = grid.last_due(asked_until)
    missing = catch_up(grid, asked_until, ledger.covered(connection), busy)
    refused = ledger.refused(connection, missing[0][0], missing[-1][1]) if missing else []
    stretches = newest_first(missing, newest)
    is_queue_full = False
    for start, end in cut_refused(stretches, refused, grid.width):
        if len(requests) == most:
            break
        is_newest = newest is not None and (start, end) == (newest.start, newest.end)
        # A half of what was refused is tried at once: only as a whole it has failed.
        is_new_half = (start, end) not in stretches and (start, end) not in refused
        again = None if is_new_half else _may_try_again(ledger.tries(connection, start, end, now))
        if again is not None and now < again:
            waiting.append(f"{grid.window(start).key} (again after {again:%H:%M:%S} UTC)")
        elif unfinished + len(requests) >= MOST_UNFINISHED and not is_newest:
            is_queue_full = True
        else:
            requests.append(_request(grid, grid.window(start), end, LIVE if is_newest else {}))
    if requests:
        return requests
    if is_queue_full:
        return dg.SkipReason(f"{unfinished} runs of the job wait or work; more are requested as they end")
    if waiting:
        return dg.SkipReason("waiting before another try at " + ", ".join(waiting[:MOST_REQUESTS]))
    if busy:
        return dg.SkipReason("every window that was missed is done, or a run is working on it")
    return dg.SkipReason("no window was missed")


def _what_is_pending(
    instance: dg.DagsterInstance, connection: Connection, grid: WindowGrid, now: datetime, *, working: bool
) -> dg.RunRequest | None:
    """Request a run of the later assets where rows are pending: they came late, or their run failed after storing them.

    The run is for the newest window that is fetched, but derives all that is pending. While other runs are `working`,
    which derive it as well when they end well, it is left to them for PENDING_LEFT_TO_RUNS. After runs that failed it
    waits as `_may_try_again` does. Returns None when nothing is to be done now.
    """
    since = pending.oldest(connection)
    if since is None or (working and now - since < PENDING_LEFT_TO_RUNS):
        return None
    window = ledger.newest_fetched(connection, grid)
    under_way = dg.RunsFilter(job_name=JOB_NAME, tags=WHAT_IS_PENDING, statuses=UNFINISHED)
    if window is None or instance.get_runs_count(under_way):
        return None
    # Not older ones: the success that ended an earlier trouble is deleted sooner than its failures (`pruning`).
    recent = dg.RunsFilter(job_name=JOB_NAME, tags=WHAT_IS_PENDING, created_after=now - FAILURES_COUNTED)
    runs = instance.get_run_records(recent, limit=10)
    failed = list(takewhile(lambda run: run.dagster_run.status is not dg.DagsterRunStatus.SUCCESS, runs))
    last = next((run.create_timestamp for run in failed if run.create_timestamp <= now), None)
    again = _may_try_again(ledger.Tries(len(failed), last))
    if again is not None and now < again:
        return None
    return dg.RunRequest(
        partition_key=window.key,
        asset_selection=LATER_ASSETS,
        tags={**WHAT_IS_PENDING, PRIORITY_TAG: "5", WINDOWS_TAG: "what is pending, of all windows"},
    )


def _request(grid: WindowGrid, first: SyncWindow, end: int, tags: Mapping[str, str]) -> dg.RunRequest:
    """Request a run of the job for the windows from `first` to the one that ends at `end` (ticks).

    It has no run key: a key is never used again, not even after a failure (dagster.md, trap 3).
    """
    last = grid.window(end - grid.width)
    tags = {**tags, WINDOWS_TAG: in_words(list(grid.between(first.start, end)))}
    if first.start == last.start:
        return dg.RunRequest(partition_key=first.key, tags=tags)
    bounds = {ASSET_PARTITION_RANGE_START_TAG: first.key, ASSET_PARTITION_RANGE_END_TAG: last.key}
    return dg.RunRequest(tags={**bounds, **tags})


def _may_try_again(tried: ledger.Tries) -> datetime | None:
    """Return when windows may be tried again: at once the first time, then after 1, 2, 4, ... minutes, at most 60."""
    if tried.last is None:
        return None
    wait: timedelta = min(_BACKOFF_FIRST * 2 ** min(tried.count - 1, 10), _BACKOFF_MOST)
    return tried.last + wait


def worked_on(instance: dg.DagsterInstance, grid: WindowGrid) -> Iterator[tuple[int, int]]:
    """Yield the intervals of ticks that unfinished runs and backfills work on, or are going to."""
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        tags = record.dagster_run.tags
        first = tags.get(ASSET_PARTITION_RANGE_START_TAG) or tags.get(PARTITION_NAME_TAG)
        last = tags.get(ASSET_PARTITION_RANGE_END_TAG) or first
        if first and last:
            yield from _interval(grid, first, last)
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])):
        for key in backfill.partition_names or ():
            yield from _interval(grid, key, key)
        data = backfill.asset_backfill_data
        subsets = data.target_subset.partitions_subsets_by_asset_key if data else {}
        for asset, subset in subsets.items():
            if asset in CHAIN_ASSETS and isinstance(subset, TimeWindowPartitionsSubset):
                for stretch in subset.included_time_windows:
                    yield ticks_of(stretch.start), ticks_of(stretch.end)


def _interval(grid: WindowGrid, first: str, last: str) -> Iterator[tuple[int, int]]:
    try:
        low, high = grid.window_of_key(first), grid.window_of_key(last)
    except ValueError:
        return  # a run of other assets, or of another grid, which raw_referrals refuses by itself
    yield low.start, high.end


def _warn_of_many(context: dg.SensorEvaluationContext, grid: WindowGrid, now: datetime) -> None:
    last = grid.last_due(now)
    if grid.first is not None and last is not None and (last.end - grid.first) // grid.width > WINDOWS_WARNING:
        context.log.warning(
            f"there are more than {WINDOWS_WARNING} sync windows since HUNTER_SYNC_START ({datetime_of(grid.first)}); "
            "`partner-center compact-windows` moves it forward: what is synced stays synced, and the UI stays fast"
        )
