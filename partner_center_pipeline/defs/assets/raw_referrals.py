"""raw_referrals: what the Referrals API has of a window, as received."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import dagster as dg

from partner_center_pipeline.defs.asset_run import (
    as_dagster_failure,
    counts_table,
    failure,
    fetching,
    permanent,
    result,
    windows_of,
)
from partner_center_pipeline.defs.dagster_private import SCHEDULE_NAME_TAG, SENSOR_NAME_TAG
from partner_center_pipeline.defs.gate import GateClosedError, gate
from partner_center_pipeline.defs.partitions import POOL, chain_asset
from partner_center_pipeline.defs.resources import GridParam, PartnerCenterResource, WarehouseResource, utc_now
from partner_center_pipeline.defs.window_fetch import fetch_windows
from partner_center_pipeline.partner_center import PartnerCenterError, TooEarly
from partner_center_pipeline.partner_center.isolation import is_refused_again
from partner_center_pipeline.warehouse import breaker, ledger, schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease, LeaseLostError
from partner_center_pipeline.warehouse.window_ingest import WindowIngest
from partner_center_pipeline.windows import SyncWindow


@chain_asset(schema.raw_referrals, kinds={"python", "http"}, pool=POOL)
def raw_referrals(
    context: dg.AssetExecutionContext,
    grid: GridParam,
    warehouse: WarehouseResource,
    partner_center: PartnerCenterResource,
) -> dg.MaterializeResult[None]:
    """Fetch every version of every referral that belongs to these windows, and store it as received."""
    windows = windows_of(context, grid, utc_now())
    with as_dagster_failure(), warehouse.open() as db:
        try:
            settings = gate(grid)
        except GateClosedError:
            with db.write() as connection:
                ledger.record_disabled(connection, windows, context.run.run_id, utc_now())
            raise
        with _one_fetch(context, db, windows) as lease:
            try:
                ingest = fetch_windows(
                    db,
                    lambda deadline: partner_center.open(settings, deadline=deadline),
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
    return _report(context, ingest)


@contextmanager
def _one_fetch(context: dg.AssetExecutionContext, db: Warehouse, windows: Sequence[SyncWindow]) -> Iterator[Lease]:
    """Hold the lease while the block runs.

    Raises, after recording failed attempts, when the circuit breaker is open or another run holds the lease. A run that
    a person started by hand passes the breaker.
    """
    run_id = context.run.run_id
    with db.read() as connection:
        state = breaker.load(connection)
    if state.rests(utc_now()) and context.run.tags.keys() & {SCHEDULE_NAME_TAG, SENSOR_NAME_TAG}:
        with db.write() as connection:
            ledger.record_failed(connection, windows, run_id, utc_now(), str(state))
        raise permanent(str(state), stops_all=True)
    with ExitStack() as stack:
        try:
            lease = stack.enter_context(fetching(db, run_id))
        except LeaseLostError as error:
            with db.write() as connection:
                ledger.record_failed(connection, windows, run_id, utc_now(), str(error))
            raise
        yield lease


def _report(context: dg.AssetExecutionContext, ingest: WindowIngest) -> dg.MaterializeResult[None]:
    if len(ingest.windows) > 1:
        for window, figures in ingest.figures.items():
            context.add_asset_metadata(
                {
                    "window": window.key,
                    "interval": str(window),
                    "dagster/partition_row_count": figures.new_versions,
                    **_shown(figures),
                },
                partition_key=window.key,
            )
    total = ingest.total()
    return result(
        ingest.windows,
        total.new_versions,
        {
            "overlap_seconds": ingest.overlap_seconds,
            **_shown(total),
            "new_versions_by_status": counts_table("status", ingest.statuses),
        },
    )


def _shown(figures: ledger.Figures) -> dict[str, int | float]:
    return {name: value for name, value in figures.row().items() if value is not None}
