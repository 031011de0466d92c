"""normalized_leads: one lead per referral, the newest version of it."""

from collections import Counter

import dagster as dg

from partner_center_pipeline.defs.grid import chain_asset
from partner_center_pipeline.defs.resources import WarehouseResource, utc_now
from partner_center_pipeline.defs.run import counts_table, failing_for_people, result, step, windows_of
from partner_center_pipeline.leads import read_lead
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import leads, referrals, schema
from partner_center_pipeline.warehouse.schema import Asset


@chain_asset(schema.leads, kinds={"python"}, deps=[Asset.RAW_REFERRALS])
def normalized_leads(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """What each referral of these windows says, repaired, with its category and its company's domain."""
    now = utc_now()
    windows = windows_of(context, now)
    written, categories, reasons = leads.Written(), Counter[str](), Counter[str]()
    with (
        failing_for_people(),
        warehouse.open() as house,
        step(context, house, Asset.NORMALIZED_LEADS, windows, now) as done,
        house.read() as reading,
    ):
        own_domains = frozenset(Settings.load().own_domains)
        for newest in referrals.newest_of_span(reading, done.start, done.end):
            rows = [leads.row_of(found, read_lead(found.payload, own_domains)) for found in newest]
            with house.write() as connection:
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
