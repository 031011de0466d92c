"""companies: one company per registrable domain, made of its leads."""

import dagster as dg

from partner_center_pipeline.defs.asset_run import DeriveConfig, as_dagster_failure, downstream_step, result, windows_of
from partner_center_pipeline.defs.derivation import make_companies
from partner_center_pipeline.defs.partitions import chain_asset
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import schema


@chain_asset(schema.companies, kinds={"python"}, deps=[Asset.NORMALIZED_LEADS])
def companies(
    context: dg.AssetExecutionContext, config: DeriveConfig, grid: GridParam, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Make the companies that changed leads name, or named before, each from all its leads.

    Also suggest which companies may be the same, and which leads without a domain may belong to a company.
    """
    now = utc_now()
    windows = windows_of(context, grid, now)
    with (
        as_dagster_failure(),
        warehouse.open() as db,
        downstream_step(db, Asset.COMPANIES, windows, now, force=config.force) as span,
    ):
        made = make_companies(db, span, Settings.load(), now)
    return result(windows, made.written.rows, {**made.written.shown(), "new_suggestions": made.suggested})
