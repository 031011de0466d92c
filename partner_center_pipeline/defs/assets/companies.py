"""companies: one company per registrable domain."""

import dagster as dg

from partner_center_pipeline.defs.grid import chain_asset
from partner_center_pipeline.defs.resources import WarehouseResource, utc_now
from partner_center_pipeline.defs.run import failing_for_people, result, step, windows_of
from partner_center_pipeline.defs.suggesting import suggest_matches
from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.warehouse import companies as table
from partner_center_pipeline.warehouse import leads, schema
from partner_center_pipeline.warehouse.bulk import chunks
from partner_center_pipeline.warehouse.schema import Asset


@chain_asset(schema.companies, kinds={"python"}, deps=[Asset.NORMALIZED_LEADS])
def companies(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """The companies that the leads of these windows name, or named before, each made anew from all its leads.

    Beside them, which companies may be one, and which leads without a domain may be a company's: suggestions only.
    """
    now = utc_now()
    windows = windows_of(context, now)
    written = leads.Written()
    with failing_for_people(), warehouse.open() as house, step(context, house, Asset.COMPANIES, windows, now) as done:
        with house.read() as connection:
            domains = leads.domains_of_span(connection, done.start, done.end)
        for some in chunks(domains):
            with house.write() as connection:
                rows = [company_of(domain, of_it) for domain, of_it in leads.of_domains(connection, some).items()]
                written += table.write(connection, rows)
        suggested = suggest_matches(house, done.start, done.end, domains, now)
        done.rows = written.rows
    return result(windows, written.rows, {**written.shown(), "new_suggestions": suggested})
