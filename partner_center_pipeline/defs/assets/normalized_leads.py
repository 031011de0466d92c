"""normalized_leads: one lead per referral, the newest version of it."""

import dagster as dg

from partner_center_pipeline.defs.asset_run import (
    DeriveConfig,
    as_dagster_failure,
    counts_table,
    downstream_step,
    windows_of,
)
from partner_center_pipeline.defs.catalog import rules_of_leads
from partner_center_pipeline.defs.derivation import make_leads
from partner_center_pipeline.defs.partitions import chain_asset
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.defs.window_figures import derived, keys_of, materialized
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset


@chain_asset(Asset.NORMALIZED_LEADS, kinds={"python"}, deps=[Asset.RAW_REFERRALS], code=rules_of_leads)
def normalized_leads(
    context: dg.AssetExecutionContext, config: DeriveConfig, grid: GridParam, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Make a lead of each referral with a new version: repaired texts, category, the domain of the company."""
    now = utc_now()
    windows = windows_of(context, grid, now)
    keys = keys_of(windows, "new", "changed")
    with (
        as_dagster_failure(),
        warehouse.open() as db,
        downstream_step(db, Asset.NORMALIZED_LEADS, windows, now, force=config.force) as span,
    ):
        made = make_leads(db, span, frozenset(Settings.load().own_domains), now, keys)
        numbers = derived(db, Asset.NORMALIZED_LEADS, windows, made.written.shown(), keys)
    return materialized(
        context,
        numbers,
        {
            "leads_by_category": counts_table("category", made.categories),
            "leads_by_domain": counts_table("domain", made.domains),
        },
    )
