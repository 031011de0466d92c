"""scored_segments: a score, a segment and the reasons for each company."""

from collections import Counter

import dagster as dg

from partner_center_pipeline.defs.grid import chain_asset
from partner_center_pipeline.defs.resources import WarehouseResource, utc_now
from partner_center_pipeline.defs.run import counts_table, failing_for_people, result, step, windows_of
from partner_center_pipeline.defs.scan_and_score import Scoring
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import leads, schema
from partner_center_pipeline.warehouse.bulk import chunks
from partner_center_pipeline.warehouse.schema import Asset


@chain_asset(schema.company_scores, kinds={"python"}, deps=[Asset.COMPANIES, Asset.DOMAIN_SIGNALS])
def scored_segments(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """The companies of these windows, scored; a score that did not change is left alone."""
    now = utc_now()
    windows = windows_of(context, now)
    written, segments, causes = leads.Written(), Counter[str](), Counter[str]()
    with (
        failing_for_people(),
        warehouse.open() as house,
        step(context, house, Asset.SCORED_SEGMENTS, windows, now) as done,
    ):
        scoring = Scoring(Settings.load(), now)
        with house.read() as connection:
            domains = leads.domains_of_span(connection, done.start, done.end)
        for some in chunks(domains):
            with house.write() as connection:
                rows, outcome = scoring.score(connection, some)
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
