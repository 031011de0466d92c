"""The job that compares every referral of Partner Center with the warehouse, and loads what is missing.

Each window is proven complete when it is closed; this proves it once more. Not here: comparing a page
(`warehouse.reconciling`), what turns red (`checks`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg
from sqlalchemy import Connection

from partner_center_pipeline.defs import checks
from partner_center_pipeline.defs.asset_run import as_dagster_failure, fetching
from partner_center_pipeline.defs.gate import gate
from partner_center_pipeline.defs.partitions import POOL
from partner_center_pipeline.defs.periodic import NO_RUN_RETRIES, periodic_job
from partner_center_pipeline.defs.resources import GridParam, PartnerCenterResource, WarehouseResource, utc_now
from partner_center_pipeline.partner_center import PartnerCenterError, scan
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse import breaker, demo, reconciling
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.reconciling import Reconciled, Reconciler
from partner_center_pipeline.windows import TICKS_PER_SECOND

DEADLINE: Final = 3 * 3600.0
"""Seconds that a comparison may take; the next one starts from the beginning."""

NOTHING_YET: Final = "no window is done yet, so there is nothing to compare; run `partner-center sync` first"


def reconcile(
    db: Warehouse,
    partner_center: PartnerCenterResource,
    settings: Settings,
    run_id: str,
    progress: Callable[[int], None] = lambda _: None,
) -> Reconciled:
    """Compare everything that windows answer for with Partner Center, page by page, and load what is missing.

    It compares up to the end of the newest window that is done; later updates are left to later windows. `progress` is
    called with the number of rows compared. Raises PartnerCenterError, WarehouseError (nothing is done yet, or another
    run is fetching) and SettingsError; the error is also kept in the row of `reconciliations`.
    """
    with db.read() as connection:
        demo.refuse_mixing(connection, settings.partner_center_base_url)
        end = reconciling.until(connection)
    if end is None:
        raise WarehouseError(NOTHING_YET)
    with fetching(db, run_id) as lease:
        reconciler = Reconciler.begin(db, lease, end, utc_now)
        with _kept(reconciler), partner_center.open(settings, deadline=DEADLINE) as client:
            for page in scan(client, start=None, end=end, not_before=end + settings.grid.lag * TICKS_PER_SECOND):
                reconciler.take(page)
                progress(reconciler.done.fetched)
    return reconciler.done


@contextmanager
def _kept(reconciler: Reconciler) -> Iterator[None]:
    """Record in the row of the comparison how it ended."""
    try:
        yield
    except (PartnerCenterError, SettingsError, WarehouseError) as error:
        reconciler.fail(str(error))
        if isinstance(error, PartnerCenterError) and error.retry_after:
            with reconciler.warehouse.write() as connection:
                breaker.note_failure(connection, str(error), utc_now(), error.retry_after)
        raise
    except BaseException as error:
        reconciler.fail(f"{type(error).__name__}; the run's log has more")
        raise
    reconciler.finish()


@dg.op(
    name="compare_with_partner_center",
    pool=POOL,
    out=dg.Out(dg.Nothing),
    description="Sweeps every referral that the done windows answer for, compares id and content with raw_referrals, "
    "loads what is missing under the window that should have brought it, for leads to be made of it. "
    "Then the asset checks of raw_referrals are evaluated.",
)
def _compare_with_partner_center(
    context: dg.OpExecutionContext,
    grid: GridParam,
    warehouse: WarehouseResource,
    partner_center: PartnerCenterResource,
) -> None:
    with as_dagster_failure():
        settings = gate(grid)
    with as_dagster_failure(), warehouse.open() as db:
        try:
            done = reconcile(db, partner_center, settings, context.run.run_id)
        except PartnerCenterError as error:
            raise dg.Failure(str(error), allow_retries=error.transient) from error
        finally:
            with db.read() as connection:
                checks.report(context.instance, connection)
    context.add_output_metadata(
        {**done.shown(), "windows": checks.windows_table([gap.row() for gap in done.windows()])}
    )


def _reason_to_skip(connection: Connection) -> str | None:
    state = breaker.load(connection)
    if state.rests(utc_now()):
        return str(state)
    return NOTHING_YET if reconciling.until(connection) is None else None


RECONCILE: Final = periodic_job(
    _compare_with_partner_center,
    name="partner_center_reconcile",
    noun="reconcile",
    description="Every referral compared with Partner Center. A version that a complete window had missed is loaded, "
    "and turns the check complete_windows_missed_nothing of raw_referrals red.",
    cron="47 1 * * 0",
    when="Weekly, in the night to Sunday (UTC).",
    gated=True,
    tags=NO_RUN_RETRIES,
    reason_to_skip=_reason_to_skip,
)
