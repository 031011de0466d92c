"""scored_segments: a score, a segment and the reasons for each company."""

from collections import Counter

import dagster as dg

from partner_center_pipeline.defs.asset_run import as_dagster_failure, counts_table, downstream_step, result, windows_of
from partner_center_pipeline.defs.enrichment import Scoring
from partner_center_pipeline.defs.partitions import chain_asset
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import leads, schema
from partner_center_pipeline.warehouse.bulk import chunks


@chain_asset(schema.company_scores, kinds={"python"}, deps=[Asset.COMPANIES, Asset.DOMAIN_SIGNALS])
def scored_segments(
    context: dg.AssetExecutionContext, grid: GridParam, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Score the companies of these windows; a score that did not change is not written again."""
    now = utc_now()
    windows = windows_of(context, grid, now)
    written, segments, causes = leads.Written(), Counter[str](), Counter[str]()
    with (
        as_dagster_failure(),
        warehouse.open() as db,
        downstream_step(context, db, Asset.SCORED_SEGMENTS, windows, now) as done,
    ):
        scoring = Scoring(Settings.load(), now)
        with db.read() as connection:
            domains = leads.domains_of_span(connection, done.start, done.end)
        for chunk in chunks(domains):
            with db.write() as connection:
                rows, outcome = scoring.score(connection, chunk)
            written += outcome.written
            causes.update(outcome.causes)
            segments.update(row["segment"] for row in rows)
    return result(
        windows,
        written.rows,
        {
            **written.shown(),
            "companies_by_segment": counts_table("segment", segments),
            "changes_by_cause": counts_table("cause", causes),
        },
    )
