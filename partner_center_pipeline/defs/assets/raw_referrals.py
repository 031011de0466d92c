"""raw_referrals: what the Referrals API has of a window, as received."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import dagster as dg

from partner_center_pipeline.defs.asset_run import (
    as_dagster_failure,
    counts_table,
    fetching,
    permanent,
    result,
    windows_of,
)
from partner_center_pipeline.defs.dagster_private import SCHEDULE_NAME_TAG, SENSOR_NAME_TAG
from partner_center_pipeline.defs.gate import GateClosedError, gate
from partner_center_pipeline.defs.partitions import POOL, chain_asset
from partner_center_pipeline.defs.resources import GridParam, PartnerCenterResource, WarehouseResource, utc_now
from partner_center_pipeline.partner_center import (
    PageQuery,
    PartnerCenterError,
    ReferralsClient,
    ScanIncomplete,
    TooEarly,
    scan,
)
from partner_center_pipeline.referral import ScanPage
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse import breaker, demo, ledger, schema
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.lease import Lease, LeaseLostError
from partner_center_pipeline.warehouse.window_ingest import WindowIngest
from partner_center_pipeline.windows import TICKS_PER_SECOND, SyncWindow, WindowGrid

RANGE_DEADLINE: Final = 3 * 3600.0
"""Seconds that the genesis window or a range may take. It commits page by page; the next run continues there."""

PATIENCE: Final = 45.0
"""Seconds to wait for a server clock that is not past the window yet."""


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
            ingest = WindowIngest.begin(db, windows, context.run.run_id, utc_now, first=grid.first or 0, lease=lease)
            with _failing_attempts(ingest):
                with db.read() as connection:
                    demo.refuse_mixing(connection, settings.partner_center_base_url)
                    state = breaker.load(connection)
                with partner_center.open(settings, deadline=_deadline(ingest, grid)) as client:
                    if state.tripped:
                        client.get_page(PageQuery(1))
                    for page in _pages(client, settings, grid, ingest):
                        ingest.write(page)
            if state.failures:
                with db.write() as connection:
                    breaker.close(connection)
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
        raise permanent(str(state))
    with ExitStack() as stack:
        try:
            lease = stack.enter_context(fetching(db, run_id))
        except LeaseLostError as error:
            with db.write() as connection:
                ledger.record_failed(connection, windows, run_id, utc_now(), str(error))
            raise
        yield lease


def _pages(client: ReferralsClient, settings: Settings, grid: WindowGrid, ingest: WindowIngest) -> Iterator[ScanPage]:
    first, end = ingest.windows[0], ingest.windows[-1].end
    overlap = ingest.overlap(settings.partner_center_overlap_seconds)
    return scan(
        client,
        start=None if first.is_genesis else first.covers_from - overlap,
        end=end,
        resume_from=ingest.resume_from,
        not_before=end + grid.lag * TICKS_PER_SECOND,
        patience=PATIENCE,
    )


def _deadline(ingest: WindowIngest, grid: WindowGrid) -> float:
    """Return the seconds a run may take: for one ordinary window less than the interval, so that runs never pile up."""
    if len(ingest.windows) > 1 or ingest.windows[0].is_genesis:
        return RANGE_DEADLINE
    return max(0.8 * grid.interval, 55.0)


@contextmanager
def _failing_attempts(ingest: WindowIngest) -> Iterator[None]:
    """Record what ends a run early in its attempts, and turn an error of Partner Center into Dagster's Failure."""
    try:
        yield
    except PartnerCenterError as error:
        ingest.fail(str(error), incomplete=isinstance(error, ScanIncomplete))
        if not isinstance(error, TooEarly):
            with ingest.warehouse.write() as connection:
                breaker.note_failure(connection, str(error), utc_now())
        raise dg.Failure(str(error), allow_retries=error.transient) from error
    except (SettingsError, WarehouseError) as error:
        ingest.fail(str(error), incomplete=False)
        raise
    except BaseException as error:
        ingest.fail(f"{type(error).__name__}; the run's log has more", incomplete=False)
        raise


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
