"""companies: one company per registrable domain, made of its leads."""

import dagster as dg

from partner_center_pipeline.defs.asset_run import DeriveConfig, as_dagster_failure, downstream_step, windows_of
from partner_center_pipeline.defs.catalog import rules_of_leads
from partner_center_pipeline.defs.derivation import make_companies
from partner_center_pipeline.defs.partitions import chain_asset
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.defs.window_figures import derived, keys_of, materialized
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset


@chain_asset(Asset.COMPANIES, kinds={"python"}, deps=[Asset.NORMALIZED_LEADS], code=rules_of_leads)
def companies(
    context: dg.AssetExecutionContext, config: DeriveConfig, grid: GridParam, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Make the companies that changed leads name, or named before, each from all its leads.

    Also suggest which companies may be the same, and which leads without a domain may belong to a company.
    """
    now = utc_now()
    windows = windows_of(context, grid, now)
    keys = keys_of(windows, "new", "changed", "with_new_suggestions")
    with (
        as_dagster_failure(),
        warehouse.open() as db,
        downstream_step(db, Asset.COMPANIES, windows, now, force=config.force) as span,
    ):
        made = make_companies(db, span, Settings.load(), now, keys)
        of_run = {**made.written.shown(), "with_new_suggestions": len(made.with_new_suggestions)}
        numbers = derived(db, Asset.COMPANIES, windows, of_run, keys)
    return materialized(context, numbers, {})
