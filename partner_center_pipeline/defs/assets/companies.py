"""companies: one company per registrable domain."""

import dagster as dg

from partner_center_pipeline.defs.asset_run import as_dagster_failure, downstream_step, result, windows_of
from partner_center_pipeline.defs.match_suggestions import suggest_matches
from partner_center_pipeline.defs.partitions import chain_asset
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import companies as table
from partner_center_pipeline.warehouse import leads, schema
from partner_center_pipeline.warehouse.bulk import chunks


@chain_asset(schema.companies, kinds={"python"}, deps=[Asset.NORMALIZED_LEADS])
def companies(
    context: dg.AssetExecutionContext, grid: GridParam, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Make the companies that the leads of these windows name, or named before, each from all its leads.

    Also suggest which companies may be the same, and which leads without a domain may belong to a company.
    """
    now = utc_now()
    windows = windows_of(context, grid, now)
    written = leads.Written()
    with (
        as_dagster_failure(),
        warehouse.open() as db,
        downstream_step(context, db, Asset.COMPANIES, windows, now) as done,
    ):
        with db.read() as connection:
            domains = leads.domains_of_span(connection, done.start, done.end)
        for chunk in chunks(domains):
            with db.write() as connection:
                rows = [company_of(domain, of_it) for domain, of_it in leads.of_domains(connection, chunk).items()]
                written += table.write(connection, rows)
        suggested = suggest_matches(db, done.start, done.end, domains, now)
        done.rows = written.rows
    return result(windows, written.rows, {**written.shown(), "new_suggestions": suggested})
