"""The jobs that compare Partner Center with the warehouse, and load what is missing: all weekly, the last day daily.

Each window is proven complete when it is closed; this proves it once more, the weekly job with another question than
the windows'. Not here: comparing a page (`warehouse.reconciling`), what turns red (`checks`).
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg
from sqlalchemy import Connection

from partner_center_pipeline.defs import checks
from partner_center_pipeline.defs.asset_run import as_dagster_failure, failure, fetching
from partner_center_pipeline.defs.gate import gate
from partner_center_pipeline.defs.partitions import POOL
from partner_center_pipeline.defs.periodic import NO_RUN_RETRIES, periodic_job
from partner_center_pipeline.defs.resources import GridParam, PartnerCenterResource, WarehouseResource, utc_now
from partner_center_pipeline.partner_center import PartnerCenterError, WholeList, scan
from partner_center_pipeline.referral import ScanPage
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.telling import Paced, giving_up, shown_seconds
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import breaker, demo, reconciling
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.reconciling import Kind, Reconciled, Reconciler
from partner_center_pipeline.windows import TICKS_PER_SECOND, WindowGrid

DEADLINE: Final = 3 * 3600.0
"""Seconds that a comparison may take; the next one starts from the beginning."""

RECENT: Final = 86_400 * TICKS_PER_SECOND
"""What the daily comparison reads, in ticks before the end of the newest window that is done."""

_log = logging.getLogger(__name__)

NOTHING_YET: Final = "no window is done yet, so there is nothing to compare; run `partner-center sync` first"


def reconcile(
    db: Warehouse,
    partner_center: PartnerCenterResource,
    settings: Settings,
    run_id: str,
    progress: Callable[[int], None] = lambda _: None,
    *,
    kind: Kind = Kind.FULL,
    accept_many_vanished: bool = False,
) -> Reconciled:
    """Compare what windows answer for with Partner Center, page by page, and load what is missing.

    It compares up to the end of the newest window that is done; later updates are left to later windows. A full
    comparison also marks the leads that Partner Center shows no more, unless they are too many at once and nobody
    accepted that. `progress` is called with the number of rows compared. Raises PartnerCenterError, WarehouseError
    (nothing is done yet, or another run is fetching) and SettingsError; the error is also kept in the row of
    `reconciliations`.
    """
    with db.read() as connection:
        demo.refuse_mixing(connection, settings.partner_center_base_url)
        end = reconciling.until(connection)
        expected = reconciling.expected(connection, recent=kind is Kind.RECENT)
    if end is None:
        raise WarehouseError(NOTHING_YET)
    _log.info(
        "compare: %s rows in pages of %d, %s",
        f"about {expected:,}" if expected else "the last 24 hours'", settings.partner_center_page_size,
        giving_up(utc_now(), DEADLINE),
    )  # fmt: skip
    with fetching(db, run_id) as lease:
        lag = settings.grid.lag * TICKS_PER_SECOND
        reconciler = Reconciler.begin(db, lease, end, utc_now, kind=kind, lag=lag)

        began, tell = time.monotonic(), Paced(_log)

        def take(pages: Iterator[ScanPage]) -> None:
            for number, page in enumerate(pages, 1):
                reconciler.take(page)
                done = reconciler.done
                progress(done.fetched)
                tell(
                    "compare: page %d%s, %s rows, %s were missing", number,
                    f" of about {-(-expected * number // done.fetched)}" if expected > done.fetched > 0 else "",
                    f"{done.fetched:,}", f"{done.missing:,}",
                )  # fmt: skip

        with (
            _kept(reconciler),
            partner_center.open(settings, deadline=DEADLINE, asking=lease.hold) as client,
        ):
            if kind is Kind.RECENT:
                take(scan(client, start=end - RECENT, end=end, not_before=end + lag))
            else:
                whole = WholeList(client, end=end, lag=lag)
                take(whole.pages())
                unseen = reconciler.unseen(whole.shows, accept_many=accept_many_vanished)
                reconciler.mark_vanished(unseen, client.shows)
    done = reconciler.done
    _log.info(
        "compare: done, %s rows in %s, %s were missing, %s to quarantine",
        f"{done.fetched:,}", shown_seconds(time.monotonic() - began), f"{done.missing:,}", f"{done.quarantined:,}",
    )  # fmt: skip
    return done


@contextmanager
def _kept(reconciler: Reconciler) -> Iterator[None]:
    """Record in the row of the comparison how it ended."""
    try:
        yield
    except (PartnerCenterError, SettingsError, WarehouseError) as error:
        reconciler.fail(str(error))
        if isinstance(error, PartnerCenterError) and error.retry_after:
            with reconciler.warehouse.write() as connection:
                breaker.note_failure(connection, str(error), utc_now, error.retry_after)
        raise
    except BaseException as error:
        reconciler.fail(f"{type(error).__name__}; the run's log has more")
        raise
    reconciler.finish()


def _compare(
    context: dg.OpExecutionContext,
    grid: WindowGrid,
    warehouse: WarehouseResource,
    partner_center: PartnerCenterResource,
    kind: Kind,
) -> None:
    with as_dagster_failure():
        settings = gate(grid)
    with as_dagster_failure(), warehouse.open() as db:
        try:
            done = reconcile(db, partner_center, settings, context.run.run_id, kind=kind)
        except PartnerCenterError as error:
            raise failure(str(error), allow_retries=error.transient, stops_all=False) from None
        finally:
            with db.read() as connection:
                checks.report(context.instance, connection)
    for observation in observations(done):
        context.log_event(observation)
    context.add_output_metadata(
        {**done.shown(), "windows": checks.windows_table([gap.row() for gap in done.windows()])}
    )


def observations(done: Reconciled) -> list[dg.AssetObservation]:
    """Return what a comparison found of, and did to, the tables of the assets, for the catalog."""
    seen = [dg.AssetObservation(str(Asset.RAW_REFERRALS), "Compared with Partner Center", metadata=done.shown())]
    if done.marked or done.returned:
        marks = {"marked_as_vanished": done.marked, "shown_again": done.returned}
        seen += [
            dg.AssetObservation(str(asset), "Leads are shown no more, or again", metadata=marks)
            for asset in (Asset.NORMALIZED_LEADS, Asset.COMPANIES)
        ]
    return seen


@dg.op(
    name="compare_with_partner_center",
    pool=POOL,
    out=dg.Out(dg.Nothing),
    description="Reads the whole list of referrals from either end by createdDateTime, compares id and content with "
    "raw_referrals, loads what is missing under the window that should have brought it, for leads to be made of it, "
    "and marks leads that Partner Center shows no more. Then the asset checks of raw_referrals are evaluated.",
)
def _compare_with_partner_center(
    context: dg.OpExecutionContext,
    grid: GridParam,
    warehouse: WarehouseResource,
    partner_center: PartnerCenterResource,
) -> None:
    _compare(context, grid, warehouse, partner_center, Kind.FULL)


@dg.op(
    name="compare_the_last_day",
    pool=POOL,
    out=dg.Out(dg.Nothing),
    description="Scans the last 24 hours that the done windows answer for as one window, and loads what is missing. "
    "Then the asset checks of raw_referrals are evaluated.",
)
def _compare_the_last_day(
    context: dg.OpExecutionContext,
    grid: GridParam,
    warehouse: WarehouseResource,
    partner_center: PartnerCenterResource,
) -> None:
    _compare(context, grid, warehouse, partner_center, Kind.RECENT)


def _reason_to_skip(connection: Connection) -> str | None:
    if (resting := breaker.resting(connection, utc_now)) is not None:
        return str(resting)
    return NOTHING_YET if reconciling.until(connection) is None else None


RECONCILE: Final = periodic_job(
    _compare_with_partner_center,
    name="partner_center_reconcile",
    noun="reconcile",
    description="Every referral compared with Partner Center. A version that a complete window had missed is loaded, "
    "and turns the check complete_windows_missed_nothing of raw_referrals red. Leads that Partner Center shows no more "
    "are marked; many at once turn the check few_referrals_vanished red instead.",
    cron="47 1 * * 0",
    when="Weekly, in the night to Sunday (UTC).",
    gated=True,
    tags=NO_RUN_RETRIES,
    reason_to_skip=_reason_to_skip,
)

RECONCILE_RECENT: Final = periodic_job(
    _compare_the_last_day,
    name="partner_center_reconcile_recent",
    noun="daily reconcile",
    description="The referrals of the last 24 hours compared with Partner Center: finds what came later than the "
    "overlap. A version that a complete window had missed is loaded, and turns the check "
    "complete_windows_missed_nothing of raw_referrals red.",
    cron="17 5 * * *",
    when="Daily, in the early morning (UTC).",
    gated=True,
    tags=NO_RUN_RETRIES,
    reason_to_skip=_reason_to_skip,
)
