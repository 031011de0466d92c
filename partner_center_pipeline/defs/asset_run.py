"""What the assets of the chain share: which windows a run is for, how it is recorded, how it fails and reports."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

import dagster as dg
from pydantic import Field

from partner_center_pipeline.defs.derivation import Span
from partner_center_pipeline.defs.gate import GateClosedError
from partner_center_pipeline.defs.resources import utc_now
from partner_center_pipeline.defs.told_failure import Failed, show_stacks
from partner_center_pipeline.mail import ResolverError
from partner_center_pipeline.scoring import RulesError
from partner_center_pipeline.settings import SettingsError
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import ledger
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.lease import LEASE_SECONDS, Lease, renewed
from partner_center_pipeline.windows import SyncWindow, WindowGrid

STOPS_ALL: Final = "stops_all"
"""The metadata of a failure that each other window would meet, too: nobody is signed in, the switch is off."""


def failure(message: str, *, allow_retries: bool, stops_all: bool) -> dg.Failure:
    """Return a failure; `stops_all` as in STOPS_ALL."""
    return Failed(message, {STOPS_ALL: True} if stops_all else {}, allow_retries=allow_retries)


def permanent(message: str, *, stops_all: bool = False) -> dg.Failure:
    """Return a failure that another try does not mend."""
    return failure(message, allow_retries=False, stops_all=stops_all)


def windows_of(context: dg.AssetExecutionContext, grid: WindowGrid, now: datetime) -> list[SyncWindow]:
    """Return the windows a run is for, in order.

    Dagster does not validate range tags: a reversed, future, unaligned or huge range would end as SUCCESS with nothing
    done (dagster.md, "Range runs"). Raises a permanent Failure that says what is wrong with the range. `now` is UTC.
    """
    chosen = context.partition_key_range
    try:
        first, last = grid.window_of_key(chosen.start), grid.window_of_key(chosen.end)
    except ValueError as error:
        raise permanent(f"{error}. Nothing was done.") from None
    if last.start < first.start:
        raise permanent(f"the range runs backwards, from {first.key} to {last.key}; nothing was done")
    newest = grid.window(grid.due_end(now) - grid.width)
    if last.start > newest.start + grid.width:
        raise permanent(
            f"window {last.key} has not ended yet (the newest that is due is {newest.key}); nothing was done"
        )
    count = (last.end - first.start) // grid.width
    if count > grid.per_day:
        raise permanent(
            f"{count} windows in one run are too many; a run takes at most a day, {grid.per_day} windows. "
            "A backfill splits a longer range by itself. Nothing was done."
        )
    return list(grid.between(first.start, last.end))


class DeriveConfig(dg.Config):
    """What a person may choose for a run of an asset after raw_referrals."""

    force: bool = Field(
        default=False,
        description="Derive the rows of these windows again although nothing changed since they were derived.",
    )


@contextmanager
def downstream_step(
    warehouse: Warehouse,
    asset: Asset,
    windows: Sequence[SyncWindow],
    now: datetime,
    *,
    force: bool = False,
) -> Iterator[Span]:
    """Run the step of an asset after raw_referrals, and mark its windows as done when the block ends without an error.

    The span of an installation's first window begins earlier than its partition does: at its `covers_from`. Raises a
    permanent Failure for windows that the asset before has not done.
    """
    before = ledger.CHAIN[ledger.CHAIN.index(asset) - 1]
    try:
        with warehouse.read() as connection:
            known = ledger.require(connection, windows, before)
    except ledger.WindowNotReadyError as error:
        raise permanent(str(error)) from None
    yield Span(known[0].covers_from, known[-1].end, force)
    with warehouse.write() as connection:
        ledger.mark(connection, windows, asset, now)


@contextmanager
def fetching(db: Warehouse, run_id: str) -> Iterator[Lease]:
    """Hold the lease of the one run that fetches from Partner Center, and renew it while the block runs.

    Waits until the lease of a killed run has ended. Raises LeaseLostError while another run is alive.
    """
    lease = Lease(db, run_id, utc_now)
    lease.acquire(LEASE_SECONDS + 15, time.sleep)
    try:
        with renewed(lease):
            yield lease
    finally:
        with suppress(WarehouseError):  # it ends by itself
            lease.release()


@contextmanager
def as_dagster_failure() -> Iterator[None]:
    """Turn a closed gate, unusable settings, rules, warehouse or resolvers into a Failure that says the next step."""
    show_stacks()
    try:
        yield
    except (GateClosedError, SettingsError, RulesError, WarehouseError, ResolverError) as error:
        raise permanent(str(error), stops_all=True) from None


def counts_table(name: str, counts: Mapping[str, int]) -> dg.TableMetadataValue:
    """Return a metadata table of how many rows have each value, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return dg.MetadataValue.table(
        records=[dg.TableRecord({name: str(value), "rows": count}) for value, count in ordered],
        schema=dg.TableSchema(columns=[dg.TableColumn(name, "string"), dg.TableColumn("rows", "int")]),
    )
