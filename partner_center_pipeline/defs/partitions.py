"""What the assets of the chain share: their partitions, group, pools and the description of their tables."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import dagster as dg

from partner_center_pipeline.defs.catalog import DESCRIPTIONS, GROUP, OPERATORS, described, lineage_of, table_metadata
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse.schema import TABLE_OF
from partner_center_pipeline.windows import WindowGrid

POOL: Final = "partner_center_api"
"""The pool of what calls Microsoft; dagster.yaml gives it one slot, so one fetch runs at a time."""
DNS_POOL: Final = "mail_dns"
"""The pool of the rescan. With one slot a rescan is one run; with more it is cut into runs that work side by side."""

Compute = Callable[..., dg.MaterializeResult[None] | Iterator[dg.MaterializeResult[None]]]
AssetBuilder = Callable[[WindowGrid], dg.AssetsDefinition]
"""Makes an asset for a grid of windows."""


def chain_asset(
    asset: Asset,
    *,
    kinds: set[str],
    code: Callable[[], str],
    deps: Sequence[Asset] = (),
    pool: str | None = None,
    may_do_nothing: bool = False,
) -> Callable[[Compute], AssetBuilder]:
    """Make an asset of the chain out of a function, once the grid is known.

    Each is partitioned by the grid's windows, takes a day of them a run, and shows the columns of its table. `code`
    returns the digest of what its rows are made with. One that `may_do_nothing` can end well without a materialization;
    the assets after it do not run then.
    """
    table = TABLE_OF[asset]

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
                    deps=[str(one) for one in deps],
                    pool=pool,
                    output_required=not may_do_nothing,
                    owners=[OPERATORS],
                    code_version=code(),
                    description=described(DESCRIPTIONS[asset], table),
                    metadata=table_metadata(table) | {"dagster/column_lineage": lineage_of(asset)},
                )(compute)

        return build

    return decorate
