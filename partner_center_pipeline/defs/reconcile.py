"""The reconcile: a full sweep of Partner Center that compares every referral with the warehouse and loads what is
missing.

Windows are proven complete as they close; this proves it again, from the outside. Belongs here: the job, its schedule,
and its one paragraph. Not here: comparing (`warehouse.reconciling`), what turns red (`checks`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from partner_center_pipeline.defs import checks
from partner_center_pipeline.defs.automation import gate
from partner_center_pipeline.defs.grid import GRID, POOL
from partner_center_pipeline.defs.recovery import end_dead_runs
from partner_center_pipeline.defs.resources import PartnerCenterResource, WarehouseResource, utc_now
from partner_center_pipeline.defs.run import failing_for_people, fetching, permanent
from partner_center_pipeline.partner_center import PartnerCenterError, scan
from partner_center_pipeline.partner_center.drift import DriftWatch
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse import breaker, demo, reconciling
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.reconciling import Reconciled, Reconciler
from partner_center_pipeline.windows import TICKS_PER_SECOND

JOB_NAME: Final = "partner_center_reconcile"
DEADLINE: Final = 3 * 3600.0
"""Seconds that a sweep may take; the next one begins anew."""

NOTHING_YET: Final = "no window is done yet, so there is nothing to compare; run `partner-center sync` first"


def reconcile(
    house: Warehouse,
    partner_center: PartnerCenterResource,
    settings: Settings,
    run_id: str,
    progress: Callable[[int], None] = lambda _: None,
) -> Reconciled:
    """Compare everything that windows answer for with Partner Center, page by page, and load what is missing.

    What it compares ends where the newest window that is done does; what was updated since is left to the windows to
    come. `progress` hears the number of rows compared. Raises PartnerCenterError, WarehouseError (nothing is done yet,
    or another run is fetching), and what the settings are refused for; the row in `reconciliations` says so.
    """
    with house.read() as connection:
        demo.refuse_mixing(connection, settings.partner_center_base_url)
        end = reconciling.until(connection)
    if end is None:
        raise WarehouseError(NOTHING_YET)
    with fetching(house, run_id) as lease:
        reconciler = Reconciler.begin(house, lease, end, DriftWatch().news, utc_now)
        with _kept(reconciler), partner_center.open(settings, deadline=DEADLINE) as client:
            for page in scan(client, start=None, end=end, not_before=end + GRID.lag * TICKS_PER_SECOND):
                reconciler.take(page)
                progress(reconciler.done.fetched)
    return reconciler.done


@contextmanager
def _kept(reconciler: Reconciler) -> Iterator[None]:
    """However the sweep ends, its row says so."""
    try:
        yield
    except (PartnerCenterError, SettingsError, WarehouseError) as error:
        reconciler.fail(str(error))
        raise
    except BaseException as error:
        reconciler.fail(f"{type(error).__name__}; the run's log has more")
        raise
    reconciler.finish()


@dg.op(
    name="compare_with_partner_center",
    pool=POOL,
    out=dg.Out(dg.Nothing),
    description="Sweeps every referral that the done windows answer for, compares id and eTag with raw_referrals, "
    "loads what is missing under the window that should have brought it, and opens that window for the later assets. "
    "Then the asset checks of raw_referrals are evaluated.",
)
def _compare_with_partner_center(
    context: dg.OpExecutionContext, warehouse: WarehouseResource, partner_center: PartnerCenterResource
) -> None:
    opened = gate()
    if opened.settings is None:
        raise permanent(opened.reason)
    with failing_for_people(), warehouse.open() as house:
        try:
            done = reconcile(house, partner_center, opened.settings, context.run.run_id)
        except PartnerCenterError as error:
            raise dg.Failure(str(error), allow_retries=error.transient) from error
        finally:
            with house.read() as connection:
                checks.report(context.instance, connection)
    context.add_output_metadata(
        {**done.shown(), "windows": checks.windows_table([gap.row() for gap in done.windows()])}
    )


@dg.job(
    name=JOB_NAME,
    executor_def=dg.in_process_executor,
    description="Every referral compared with Partner Center. A version that a complete window had missed is loaded, "
    "and turns the check complete_windows_missed_nothing of raw_referrals red.",
    tags={"dagster/retry_on_asset_or_op_failure": "false"},
)
def partner_center_reconcile() -> None:
    """One step: it commits as it goes."""
    _compare_with_partner_center()


@dg.schedule(
    name="partner_center_reconcile_schedule",
    job=partner_center_reconcile,
    cron_schedule="47 1 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Weekly, in the night to Sunday (UTC).",
)
def partner_center_reconcile_schedule(
    context: dg.ScheduleEvaluationContext, warehouse: WarehouseResource
) -> dg.RunRequest | dg.SkipReason:
    """A run when something was synced, the gate is open, and none is under way."""
    opened = gate()
    if opened.settings is None:
        return dg.SkipReason(opened.reason)
    try:
        with warehouse.open() as house:
            end_dead_runs(context.instance, house, utc_now)
            with house.read() as connection:
                broken, end = breaker.load(connection), reconciling.until(connection)
    except WarehouseError as error:
        return dg.SkipReason(str(error))
    if context.instance.get_runs(dg.RunsFilter(job_name=JOB_NAME, statuses=NOT_FINISHED_STATUSES), limit=1):
        return dg.SkipReason("the last reconcile is still at work")
    if broken.rests(utc_now()):
        return dg.SkipReason(str(broken))
    return dg.SkipReason(NOTHING_YET) if end is None else dg.RunRequest()
