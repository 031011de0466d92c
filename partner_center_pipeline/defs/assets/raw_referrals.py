"""raw_referrals: what the Referrals API has of a window, as received."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import dagster as dg
from pydantic import Field

from partner_center_pipeline.defs.asset_run import (
    as_dagster_failure,
    counts_table,
    failure,
    fetching,
    permanent,
    windows_of,
)
from partner_center_pipeline.defs.catalog import rules_of_fetching
from partner_center_pipeline.defs.dagster_private import SCHEDULE_NAME_TAG, SENSOR_NAME_TAG
from partner_center_pipeline.defs.gate import GateClosedError, SwitchedOffError, gate
from partner_center_pipeline.defs.partitions import POOL, chain_asset
from partner_center_pipeline.defs.resources import GridParam, PartnerCenterResource, WarehouseResource, utc_now
from partner_center_pipeline.defs.window_fetch import fetch_windows
from partner_center_pipeline.defs.window_figures import ROWS, materialized, tag_with_windows
from partner_center_pipeline.partner_center import PartnerCenterError, TooEarly
from partner_center_pipeline.partner_center.isolation import is_refused_again
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import breaker, ledger, window_rows
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease, LeaseLostError
from partner_center_pipeline.warehouse.window_ingest import WindowIngest
from partner_center_pipeline.windows import SyncWindow


class FetchConfig(dg.Config):
    """What a person may choose for a run of raw_referrals."""

    page_size: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Referrals per page in this run, such as 10 where Partner Center cannot send a larger page; empty: "
        "HUNTER_PARTNER_CENTER_PAGE_SIZE.",
    )


@chain_asset(Asset.RAW_REFERRALS, kinds={"python", "http"}, pool=POOL, code=rules_of_fetching, may_do_nothing=True)
def raw_referrals(
    context: dg.AssetExecutionContext,
    config: FetchConfig,
    grid: GridParam,
    warehouse: WarehouseResource,
    partner_center: PartnerCenterResource,
) -> Iterator[dg.MaterializeResult[None]]:
    """Fetch every version of every referral that belongs to these windows, and store it as received."""
    windows = windows_of(context, grid, utc_now())
    tag_with_windows(context, windows)
    with as_dagster_failure(), warehouse.open() as db:
        try:
            settings = gate(grid)
        except GateClosedError as closed:
            with db.write() as connection:
                ledger.record_disabled(connection, windows, context.run.run_id, utc_now())
                done = ledger.is_done(connection, windows)
            if done and isinstance(closed, SwitchedOffError):
                # A failure would paint windows red that are complete. Without a materialization they stay as they are.
                context.log.warning(f"{closed}. Nothing was asked; these windows are complete, and stay so")
                return
            raise
        if config.page_size is not None:
            settings = settings.model_copy(update={"partner_center_page_size": config.page_size})
        with _one_fetch(context, db, windows) as lease:
            try:
                ingest = fetch_windows(
                    db,
                    lambda deadline: partner_center.open(settings, deadline=deadline, asking=lease.hold),
                    settings,
                    windows,
                    context.run.run_id,
                    utc_now,
                    lease,
                    lambda: gate(grid),
                )
            except PartnerCenterError as error:
                stops_all = not (isinstance(error, TooEarly) or is_refused_again(error))
                raise failure(str(error), allow_retries=error.transient, stops_all=stops_all) from None
        with db.read() as connection:
            held = window_rows.counts(connection, ingest.windows)
    yield _report(context, ingest, held)


@contextmanager
def _one_fetch(context: dg.AssetExecutionContext, db: Warehouse, windows: Sequence[SyncWindow]) -> Iterator[Lease]:
    """Hold the lease while the block runs.

    Raises, after recording failed attempts, when the circuit breaker is open or another run holds the lease. A run that
    a person started by hand passes the breaker.
    """
    run_id = context.run.run_id
    with db.read() as connection:
        resting = breaker.resting(connection, utc_now)
    if resting is not None and context.run.tags.keys() & {SCHEDULE_NAME_TAG, SENSOR_NAME_TAG}:
        with db.write() as connection:
            ledger.record_failed(connection, windows, run_id, utc_now(), str(resting))
        raise permanent(str(resting), stops_all=True)
    with ExitStack() as stack:
        try:
            lease = stack.enter_context(fetching(db, run_id))
        except LeaseLostError as error:
            with db.write() as connection:
                ledger.record_failed(connection, windows, run_id, utc_now(), str(error))
            raise
        yield lease


def _report(
    context: dg.AssetExecutionContext, ingest: WindowIngest, held: Mapping[SyncWindow, int]
) -> dg.MaterializeResult[None]:
    numbers = {window: {ROWS: held[window], **_shown(figures)} for window, figures in ingest.figures.items()}
    of_run = {
        "overlap_seconds": ingest.overlap_seconds,
        "new_versions_by_status": counts_table("status", ingest.statuses),
    }
    return materialized(context, numbers, of_run)


def _shown(figures: ledger.Figures) -> dict[str, int | float]:
    return {name: value for name, value in figures.row().items() if value is not None}
