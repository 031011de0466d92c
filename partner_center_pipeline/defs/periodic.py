"""What the jobs share that run at fixed times and cover no window: the reconcile and the rescan."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import dagster as dg
from sqlalchemy import Connection

from partner_center_pipeline.defs.gate import GateClosedError, gate
from partner_center_pipeline.defs.recovery import end_dead_runs
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.settings import SettingsError
from partner_center_pipeline.warehouse.database import WarehouseError

NO_RUN_RETRIES: Final = {"dagster/retry_on_asset_or_op_failure": "false"}
"""The tag that keeps run retries from repeating a permanent error (dagster.md, trap 4)."""

_FINISHED: Final = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
UNFINISHED: Final = [status for status in dg.DagsterRunStatus if status not in _FINISHED]
"""The statuses of runs that may still write."""


class PeriodicJob(NamedTuple):
    """A job of one op, and the schedule that starts it."""

    job: dg.JobDefinition
    schedule: dg.ScheduleDefinition


def periodic_job(
    op: dg.OpDefinition,
    *,
    name: str,
    noun: str,
    description: str,
    cron: str,
    when: str,
    gated: bool,
    tags: Mapping[str, str],
    reason_to_skip: Callable[[Connection], str | None],
) -> PeriodicJob:
    """Make a job that runs `op`, and its schedule (UTC, on by default).

    noun            what a run is called in a reason, such as "reconcile"
    when            the schedule's description
    gated           whether the job talks to Partner Center, so that the schedule asks the gate first
    reason_to_skip  asked at each tick; None lets a run begin

    The schedule skips while a run of the job is under way. It uses no run key: a key is never used again, so a failed
    run could not be repeated (dagster.md, trap 3).
    """

    @dg.job(name=name, description=description, executor_def=dg.in_process_executor, tags=tags)
    def job() -> None:
        op()

    @dg.schedule(
        name=f"{name}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=when,
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, grid: GridParam, warehouse: WarehouseResource
    ) -> dg.RunRequest | dg.SkipReason:
        try:
            if gated:
                gate(grid)
            with warehouse.open() as db:
                end_dead_runs(context.instance, db, utc_now)
                if context.instance.get_runs(dg.RunsFilter(job_name=name, statuses=UNFINISHED), limit=1):
                    return dg.SkipReason(f"the last {noun} is still at work")
                with db.read() as connection:
                    reason = reason_to_skip(connection)
        except (GateClosedError, SettingsError, WarehouseError) as error:
            return dg.SkipReason(str(error))
        return dg.RunRequest() if reason is None else dg.SkipReason(reason)

    return PeriodicJob(job, schedule)
