"""What the assets of the chain share: their partitions, group, pools and the description of their tables."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import dagster as dg
from sqlalchemy import Table

from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse.schema import comment_of
from partner_center_pipeline.windows import WindowGrid

GROUP: Final = "partner_center"
POOL: Final = "partner_center_api"
"""The pool of what calls Microsoft; dagster.yaml gives it one slot, so one fetch runs at a time."""
DNS_POOL: Final = "mail_dns"
"""The pool of the rescan: two at once would ask everything twice."""

Compute = Callable[..., dg.MaterializeResult[None] | Iterator[dg.MaterializeResult[None]]]
AssetBuilder = Callable[[WindowGrid], dg.AssetsDefinition]
"""Makes an asset for a grid of windows."""


def chain_asset(
    table: Table,
    *,
    kinds: set[str],
    deps: Sequence[Asset] = (),
    pool: str | None = None,
    check_specs: Sequence[dg.AssetCheckSpec] = (),
) -> Callable[[Compute], AssetBuilder]:
    """Make an asset of the chain out of a function, once the grid is known.

    Each is partitioned by the grid's windows, takes a day of them a run, and shows the columns of its `table`. It
    evaluates the checks of `check_specs` itself.
    """

    def decorate(compute: Compute) -> AssetBuilder:
        def build(grid: WindowGrid) -> dg.AssetsDefinition:
            with warnings.catch_warnings():
                # `backfill_policy` is beta in Dagster 1.13; this warning and no other is expected.
                warnings.filterwarnings(
                    "ignore", "Parameter `backfill_policy` of function `asset` is", category=dg.BetaWarning
                )
                return dg.asset(
                    partitions_def=grid.partitions(),
                    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=grid.per_day),
                    group_name=GROUP,
                    kinds=kinds,
                    deps=[str(asset) for asset in deps],
                    pool=pool,
                    check_specs=check_specs,
                    description=f"{table.comment}. Table `{table.name}`.",
                    metadata={
                        "dagster/table_name": table.name,
                        "dagster/column_schema": dg.TableSchema(
                            columns=[
                                dg.TableColumn(column.name, str(column.type).lower(), description=comment_of(column))
                                for column in table.columns
                            ]
                        ),
                    },
                )(compute)

        return build

    return decorate
