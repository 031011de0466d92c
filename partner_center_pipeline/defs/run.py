"""What every asset of the chain does around its own paragraph: which windows a run is for, and how it fails."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg

from partner_center_pipeline.defs.grid import GRID
from partner_center_pipeline.defs.resources import utc_now
from partner_center_pipeline.mail import ResolverError
from partner_center_pipeline.scoring import RulesError
from partner_center_pipeline.settings import SettingsError
from partner_center_pipeline.warehouse import ledger
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.lease import LEASE_SECONDS, Lease, alive
from partner_center_pipeline.warehouse.schema import Asset
from partner_center_pipeline.windows import SyncWindow


def permanent(message: str) -> dg.Failure:
    """A failure that another try does not mend."""
    return dg.Failure(message, allow_retries=False)


def windows_of(context: dg.AssetExecutionContext, now: datetime) -> list[SyncWindow]:
    """The windows a run is for, in order.

    Dagster does not validate range tags: a reversed, future, unaligned or huge range would end as SUCCESS with
    nothing done (dagster.md, "Range runs"). Raises a permanent Failure that says what is wrong with the range.
    """
    chosen = context.partition_key_range
    try:
        first, last = GRID.window_of_key(chosen.start), GRID.window_of_key(chosen.end)
    except ValueError as error:
        raise permanent(f"{error}. Nothing was done.") from None
    if last.start < first.start:
        raise permanent(f"the range runs backwards, from {first.key} to {last.key}; nothing was done")
    newest = GRID.window(GRID.due_end(now) - GRID.width)
    if last.start > newest.start + GRID.width:
        raise permanent(
            f"window {last.key} has not ended yet (the newest that is due is {newest.key}); nothing was done"
        )
    count = (last.end - first.start) // GRID.width
    if count > GRID.per_day:
        raise permanent(
            f"{count} windows in one run are too many; a run takes at most a day, {GRID.per_day} windows. "
            "A backfill splits a longer range by itself. Nothing was done."
        )
    return list(GRID.between(first.start, last.end))


@dataclass(slots=True)
class Step:
    """A later asset's paragraph: the span of windows it is for, and the `rows` it wrote.

    `start` and `end` are ticks. The installation's first window begins earlier than its partition does: it also answers
    for what older windows left undone. Rows make what the assets after it have out of date.
    """

    start: int
    end: int
    rows: int = 0


@contextmanager
def step(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    asset: Asset,
    windows: Sequence[SyncWindow],
    now: datetime,
) -> Iterator[Step]:
    """Run a later asset's paragraph: only on windows that the asset before has done, and marked when it ended well."""
    before = ledger.CHAIN[ledger.CHAIN.index(asset) - 1]
    try:
        with warehouse.read() as connection:
            seen = ledger.built_on(connection, windows, before)
            known = ledger.require(connection, windows, before)
    except ledger.WindowNotReadyError as error:
        raise permanent(str(error)) from None
    done = Step(known[0].covers_from, known[-1].end)
    with alive(warehouse, context.run.run_id, utc_now):
        yield done
    with warehouse.write() as connection:
        ledger.mark(connection, windows, asset, now, changed=done.rows > 0, seen=seen)


@contextmanager
def fetching(house: Warehouse, run_id: str) -> Iterator[Lease]:
    """Be the one run that asks Partner Center for rows, and give signs of life meanwhile.

    Waits for a run that was killed to lose its lease. Raises LeaseLostError while another one lives.
    """
    lease = Lease(house, run_id, utc_now)
    with alive(house, run_id, utc_now):
        lease.acquire(LEASE_SECONDS + 15, time.sleep)
    try:
        with alive(house, run_id, utc_now, lease):
            yield lease
    finally:
        with suppress(WarehouseError):  # it ends by itself
            lease.release()


@contextmanager
def failing_for_people() -> Iterator[None]:
    """Turn unusable settings, rules, warehouse and resolvers into a failure with its next step."""
    try:
        yield
    except (SettingsError, RulesError, WarehouseError, ResolverError) as error:
        raise permanent(str(error)) from None


def result(windows: Sequence[SyncWindow], rows: int, metadata: Mapping[str, Any]) -> dg.MaterializeResult[None]:
    """A materialization with what a person wants to see of it."""
    return dg.MaterializeResult(
        metadata={
            "window": f"{windows[0].key} to {windows[-1].key}" if len(windows) > 1 else windows[0].key,
            "interval": str(SyncWindow(windows[0].start, windows[-1].end, windows[0].covers_from)),
            "dagster/partition_row_count": rows,
            **metadata,
        }
    )


def counts_table(name: str, counts: Mapping[str, int]) -> dg.TableMetadataValue:
    """A small table of how many rows fall under each value."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return dg.MetadataValue.table(
        records=[dg.TableRecord({name: str(value), "rows": count}) for value, count in ordered],
        schema=dg.TableSchema(columns=[dg.TableColumn(name, "string"), dg.TableColumn("rows", "int")]),
    )
