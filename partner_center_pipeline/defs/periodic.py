"""What the jobs share that run at fixed times and cover no window: the reconcile and the rescan."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar

import dagster as dg
from sqlalchemy import Connection

from partner_center_pipeline.defs.gate import GateClosedError, gate
from partner_center_pipeline.defs.recovery import end_dead_runs
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.settings import SettingsError
from partner_center_pipeline.warehouse.database import WarehouseError
from partner_center_pipeline.windows import WindowGrid

NO_RUN_RETRIES: Final = {"dagster/retry_on_asset_or_op_failure": "false"}
"""The tag that keeps run retries from repeating a permanent error (dagster.md, trap 4)."""

_FINISHED: Final = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
UNFINISHED: Final = [status for status in dg.DagsterRunStatus if status not in _FINISHED]
"""The statuses of runs that may still write."""


Answer = TypeVar("Answer")


def logged(context: dg.ScheduleEvaluationContext | dg.SensorEvaluationContext, answer: Answer) -> Answer:
    """Write the reason of a tick that skips to the tick's own log, too, which is what a person opens.

    As DEBUG, because more than that goes to the terminal of `partner-center ui`, where it would stand twice a minute.
    """
    if isinstance(answer, dg.SkipReason):
        context.log.debug(answer.skip_message)
    return answer


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
    runs: Callable[[dg.DagsterInstance, Connection], list[dg.RunRequest]] = lambda *_: [dg.RunRequest()],
) -> PeriodicJob:
    """Make a job that runs `op`, and its schedule. The arguments are those of `periodic_schedule`."""

    @dg.job(name=name, description=description, executor_def=dg.in_process_executor, tags=tags)
    def job() -> None:
        op()

    schedule = periodic_schedule(
        name, noun=noun, cron=cron, when=when, gated=gated, reason_to_skip=reason_to_skip, runs=runs
    )
    return PeriodicJob(job, schedule)


def periodic_schedule(
    job_name: str,
    *,
    noun: str,
    cron: str,
    when: str,
    gated: bool,
    reason_to_skip: Callable[[Connection], str | None],
    runs: Callable[[dg.DagsterInstance, Connection], list[dg.RunRequest]] = lambda *_: [dg.RunRequest()],
) -> dg.ScheduleDefinition:
    """Make the schedule of a job that covers no window (UTC, on by default).

    noun            what a run is called in a reason, such as "reconcile"
    when            the schedule's description
    gated           whether the job talks to Partner Center, so that the schedule asks the gate first
    reason_to_skip  asked at each tick; None lets a run begin
    runs            which runs begin then, several where their work is cut into parts

    The schedule skips while a run of the job is under way. It uses no run key: a key is never used again, so a failed
    run could not be repeated (dagster.md, trap 3).
    """

    @dg.schedule(
        name=f"{job_name}_schedule",
        job_name=job_name,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=when,
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, grid: GridParam, warehouse: WarehouseResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        return logged(context, answer(context, grid, warehouse))

    def answer(
        context: dg.ScheduleEvaluationContext, grid: WindowGrid, warehouse: WarehouseResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        try:
            if gated:
                gate(grid)
            with warehouse.open() as db:
                end_dead_runs(context.instance, db, utc_now)
                if context.instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=UNFINISHED), limit=1):
                    return dg.SkipReason(f"the last {noun} is still at work")
                with db.read() as connection:
                    reason = reason_to_skip(connection)
                    requests = [] if reason is not None else runs(context.instance, connection)
        except (GateClosedError, SettingsError, WarehouseError) as error:
            return dg.SkipReason(str(error))
        return requests if reason is None else dg.SkipReason(reason)

    return schedule
