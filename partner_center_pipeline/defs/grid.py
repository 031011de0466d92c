"""The windows this code location was loaded with, and what its assets share because of them.

Dagster fixes a partitions definition when a code location loads, so `GRID` is read once; automation refuses to go on
when the settings describe another grid by now.
"""

from collections.abc import Callable, Sequence
from typing import Final

import dagster as dg
from sqlalchemy import Table

from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.schema import Asset
from partner_center_pipeline.windows import WindowGrid

GRID: Final[WindowGrid] = Settings.load().grid
PARTITIONS: Final = GRID.partitions()
GROUP: Final = "partner_center"
POOL: Final = "partner_center_api"
"""The pool of what calls Microsoft; dagster.yaml gives it one slot, so one fetch runs at a time."""
DNS_POOL: Final = "mail_dns"
"""The pool of the rescan: two at once would ask everything twice."""


def chain_asset(
    table: Table, *, kinds: set[str], deps: Sequence[Asset] = (), pool: str | None = None
) -> Callable[[Callable[..., dg.MaterializeResult[None]]], dg.AssetsDefinition]:
    """`@dg.asset` with what every asset of the chain has: the windows, a day of them a run, its table's columns."""
    return dg.asset(
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=GRID.per_day),
        group_name=GROUP,
        kinds=kinds,
        deps=[str(asset) for asset in deps],
        pool=pool,
        description=f"{table.comment}. Table `{table.name}`.",
        metadata={
            "dagster/table_name": table.name,
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn(column.name, str(column.type).lower(), description=column.comment)
                    for column in table.columns
                ]
            ),
        },
    )
