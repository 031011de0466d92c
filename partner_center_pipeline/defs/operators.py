"""The job that tells operators what stops the sync, and when that is over. It is apart from the chain.

Its schedule finds out by itself every five minutes, which takes a fraction of a second, and asks for a run only where
something changed or waits to be sent: each run leaves 300 KB in Dagster's storage (dagster.md, "What is deleted, and
when").

Not here: what is told and how it is delivered (`alerts`). A daemon that is dead tells nothing: `partner-center alerts
check` does, by a timer of the system.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import dagster as dg

from partner_center_pipeline.alerts import operators
from partner_center_pipeline.alerts.delivery import SenderBusyError
from partner_center_pipeline.defs import dagster_state, health_items
from partner_center_pipeline.defs.asset_run import as_dagster_failure
from partner_center_pipeline.defs.periodic import NO_RUN_RETRIES, UNFINISHED, logged
from partner_center_pipeline.defs.recovery import end_dead_runs
from partner_center_pipeline.defs.resources import WarehouseResource, utc_now
from partner_center_pipeline.health import Grade, Item
from partner_center_pipeline.partner_center import PartnerCenterError
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError

CRON: Final = "*/5 * * * *"
JOB: Final = "partner_center_operators"


def find(instance: dg.DagsterInstance, db: Warehouse, settings: Settings, now: datetime) -> Iterator[Item]:
    """Yield all findings, from inside Dagster. Raises WarehouseError.

    The daemon that started this runs. What its heartbeats say would be of before it stopped, when it has just begun.
    """
    yield from health_items.of_warehouse(db, settings, now)
    for item in health_items.of_dagster(dagster_state.facts_of(instance), settings, now):
        yield Item(item.subject, Grade.OK, "runs", item.figures) if item.subject == "daemon" else item
    try:
        yield health_items.of_sign_in(settings)
    except PartnerCenterError as error:
        yield Item("sign-in", Grade.WRONG, str(error))
    yield from health_items.of_disks(settings)


@dg.op(
    name="tell_operators",
    out=dg.Out(dg.Nothing),
    description="Finds out what `partner-center status` says, and tells operators what is not well anew, what became "
    "worse and what is over, by each channel that is set up. A receiver that takes nothing fails no run: the reason is "
    "in the metadata, in `partner-center doctor` and in the outbox.",
)
def _tell_operators(context: dg.OpExecutionContext, warehouse: WarehouseResource) -> None:
    with as_dagster_failure():
        settings = Settings.load()
        if (reason := operators.reason_not_to_check(settings)) is not None:
            context.log.info(reason)
            return
        try:
            checked = _check(context, warehouse, settings)
        except SenderBusyError as error:
            context.log.info(str(error))
            return
    for failed in checked.failures:
        context.log.warning(failed)
    context.add_output_metadata(checked.shown())


def _check(context: dg.OpExecutionContext, warehouse: WarehouseResource, settings: Settings) -> operators.Checked:
    try:
        with warehouse.open() as db:  # with a heartbeat, so that a run that is killed holds no other back
            return operators.check(
                settings,
                lambda: list(find(context.instance, db, settings, utc_now())),
                holder=context.run_id,
                clock=utc_now,
                sleep=time.sleep,
            )
    except WarehouseError as error:
        return operators.tell_without_warehouse(settings, str(error), utc_now)


@dg.job(
    name=JOB,
    description="Tells operators what stops the sync, and when that is over (docs/alerts.md).",
    executor_def=dg.in_process_executor,
    tags=NO_RUN_RETRIES,
)
def operators_job() -> None:
    """Check once."""
    _tell_operators()


@dg.schedule(
    name=f"{JOB}_schedule",
    job_name=JOB,
    cron_schedule=CRON,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every five minutes, when something is not well anew, is over, or waits to be sent.",
)
def operators_schedule(
    context: dg.ScheduleEvaluationContext, warehouse: WarehouseResource
) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run where there is something to tell, also where the warehouse cannot be used."""
    return logged(context, _answer(context, warehouse))


def _answer(context: dg.ScheduleEvaluationContext, warehouse: WarehouseResource) -> dg.RunRequest | dg.SkipReason:
    try:
        settings = Settings.load()
    except SettingsError as error:
        return dg.SkipReason(str(error))
    if (reason := operators.reason_not_to_check(settings)) is not None:
        return dg.SkipReason(reason)
    try:
        unfinished = dg.RunsFilter(job_name=JOB, statuses=UNFINISHED)
        with warehouse.open() as db:
            end_dead_runs(context.instance, db, utc_now)
            if context.instance.get_runs(unfinished, limit=1):
                return dg.SkipReason("the last check is still at work")
            now = utc_now()
            items = list(find(context.instance, db, settings, now))
            with db.read() as connection:
                wait = operators.reason_to_wait(connection, settings, items, now)
    except WarehouseError as error:
        return dg.SkipReason(str(error)) if operators.is_told_without_warehouse(settings) else dg.RunRequest()
    except SettingsError as error:
        return dg.SkipReason(str(error))
    return dg.RunRequest() if wait is None else dg.SkipReason(wait)
