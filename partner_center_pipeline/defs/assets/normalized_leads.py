"""normalized_leads: one lead per referral, the newest version of it."""

from collections import Counter

import dagster as dg

from partner_center_pipeline.defs.asset_run import as_dagster_failure, counts_table, downstream_step, result, windows_of
from partner_center_pipeline.defs.partitions import chain_asset
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.leads import read_lead
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import leads, referrals, schema


@chain_asset(schema.leads, kinds={"python"}, deps=[Asset.RAW_REFERRALS])
def normalized_leads(
    context: dg.AssetExecutionContext, grid: GridParam, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Make a lead of each referral of these windows: repaired texts, category, the domain of the company."""
    now = utc_now()
    windows = windows_of(context, grid, now)
    written, categories, reasons = leads.Written(), Counter[str](), Counter[str]()
    with (
        as_dagster_failure(),
        warehouse.open() as db,
        downstream_step(context, db, Asset.NORMALIZED_LEADS, windows, now) as done,
        db.read() as reading,
    ):
        own_domains = frozenset(Settings.load().own_domains)
        for newest in referrals.newest_of_span(reading, done.start, done.end):
            rows = [leads.row_of(found, read_lead(found.payload, own_domains)) for found in newest]
            with db.write() as connection:
                written += leads.write(connection, rows)
            categories.update(row["category"] for row in rows)
            reasons.update(row["domain_reason"] or "domain found" for row in rows)
        done.rows = written.rows
    return result(
        windows,
        written.rows,
        {
            **written.shown(),
            "leads_by_category": counts_table("category", categories),
            "leads_by_domain": counts_table("domain", reasons),
        },
    )
