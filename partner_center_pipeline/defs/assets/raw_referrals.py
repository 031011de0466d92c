"""raw_referrals: what the Referrals API has of a window, as received."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import dagster as dg
from dagster._core.storage.tags import SCHEDULE_NAME_TAG, SENSOR_NAME_TAG

from partner_center_pipeline.defs.automation import gate
from partner_center_pipeline.defs.grid import GRID, POOL, chain_asset
from partner_center_pipeline.defs.resources import PartnerCenterResource, WarehouseResource, utc_now
from partner_center_pipeline.defs.run import counts_table, failing_for_people, fetching, permanent, result, windows_of
from partner_center_pipeline.partner_center import (
    PageQuery,
    PartnerCenterError,
    ReferralsClient,
    ScanIncomplete,
    ScanPage,
    TooEarly,
    scan,
)
from partner_center_pipeline.partner_center.drift import DriftWatch
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.warehouse import breaker, demo, ledger, schema
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.lease import Lease, LeaseLostError
from partner_center_pipeline.warehouse.recorder import Recorder
from partner_center_pipeline.windows import TICKS_PER_SECOND, SyncWindow

RANGE_DEADLINE: Final = 3 * 3600.0
"""Seconds that genesis or a range may take; it commits page by page and goes on where it stopped."""

PATIENCE: Final = 45.0
"""Seconds to wait for a server clock that is not past the window yet."""


@chain_asset(schema.raw_referrals, kinds={"python", "http"}, pool=POOL)
def raw_referrals(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, partner_center: PartnerCenterResource
) -> dg.MaterializeResult[None]:
    """Every version of every referral that these windows saw."""
    windows = windows_of(context, utc_now())
    with failing_for_people(), warehouse.open() as house:
        opened = gate()
        if opened.settings is None:
            with house.write() as connection:
                ledger.record_disabled(connection, windows, context.run.run_id, utc_now())
            raise permanent(opened.reason)
        with _one_fetch(context, house, windows) as lease:
            recorder = Recorder.begin(
                house,
                windows,
                context.run.run_id,
                utc_now,
                first=GRID.first or 0,
                lease=lease,
                drift_of=DriftWatch().news,
            )
            with _attempts_end(recorder):
                with house.read() as connection:
                    demo.refuse_mixing(connection, opened.settings.partner_center_base_url)
                    broken = breaker.load(connection)
                with partner_center.open(opened.settings, deadline=_deadline(recorder)) as client:
                    if broken.tripped:
                        client.get_page(PageQuery(1))
                    for page in _pages(client, opened.settings, recorder):
                        recorder.write(page)
            if broken.failures:
                with house.write() as connection:
                    breaker.close(connection)
    return _report(context, recorder)


@contextmanager
def _one_fetch(context: dg.AssetExecutionContext, house: Warehouse, windows: Sequence[SyncWindow]) -> Iterator[Lease]:
    """Hold the lease, unless Partner Center is to be left alone or another run holds it: then the attempts say so.

    A person who starts a run by hand is not turned away by the breaker.
    """
    run_id = context.run.run_id
    with house.read() as connection:
        broken = breaker.load(connection)
    if broken.rests(utc_now()) and context.run.tags.keys() & {SCHEDULE_NAME_TAG, SENSOR_NAME_TAG}:
        with house.write() as connection:
            ledger.record_failed(connection, windows, run_id, utc_now(), str(broken))
        raise permanent(str(broken))
    with ExitStack() as stack:
        try:
            lease = stack.enter_context(fetching(house, run_id))
        except LeaseLostError as error:
            with house.write() as connection:
                ledger.record_failed(connection, windows, run_id, utc_now(), str(error))
            raise
        yield lease


def _pages(client: ReferralsClient, settings: Settings, recorder: Recorder) -> Iterator[ScanPage]:
    first, end = recorder.windows[0], recorder.windows[-1].end
    overlap = settings.partner_center_overlap_seconds * TICKS_PER_SECOND
    return scan(
        client,
        start=None if first.is_genesis else first.covers_from - overlap,
        end=end,
        resume_from=recorder.resume_from,
        not_before=end + GRID.lag * TICKS_PER_SECOND,
        patience=PATIENCE,
    )


def _deadline(recorder: Recorder) -> float:
    """Seconds a run may take: less than the interval for one ordinary window, so that runs never pile up."""
    if len(recorder.windows) > 1 or recorder.windows[0].is_genesis:
        return RANGE_DEADLINE
    return max(0.8 * GRID.interval, 55.0)


@contextmanager
def _attempts_end(recorder: Recorder) -> Iterator[None]:
    """Whatever ends a run early, its attempts say so; a failure for people becomes Dagster's."""
    try:
        yield
    except PartnerCenterError as error:
        recorder.fail(str(error), incomplete=isinstance(error, ScanIncomplete))
        if not isinstance(error, TooEarly):
            with recorder.warehouse.write() as connection:
                breaker.note_failure(connection, str(error), utc_now())
        raise dg.Failure(str(error), allow_retries=error.transient) from error
    except (SettingsError, WarehouseError) as error:
        recorder.fail(str(error), incomplete=False)
        raise
    except BaseException as error:
        recorder.fail(f"{type(error).__name__}; the run's log has more", incomplete=False)
        raise


def _report(context: dg.AssetExecutionContext, recorder: Recorder) -> dg.MaterializeResult[None]:
    if len(recorder.windows) > 1:
        for window, figures in recorder.figures.items():
            context.add_asset_metadata(
                {
                    "window": window.key,
                    "interval": str(window),
                    "dagster/partition_row_count": figures.new_versions,
                    **_shown(figures),
                },
                partition_key=window.key,
            )
    total = recorder.total()
    return result(
        recorder.windows,
        total.new_versions,
        {**_shown(total), "new_versions_by_status": counts_table("status", recorder.statuses)},
    )


def _shown(figures: ledger.Figures) -> dict[str, int | float]:
    return {name: value for name, value in figures.row().items() if value is not None}
