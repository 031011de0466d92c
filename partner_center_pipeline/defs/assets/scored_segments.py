"""scored_segments: a score, a segment and the reasons for each company."""

from collections.abc import Iterator, Mapping

import dagster as dg

from partner_center_pipeline.defs.asset_run import (
    DeriveConfig,
    as_dagster_failure,
    counts_table,
    downstream_step,
    result,
    windows_of,
)
from partner_center_pipeline.defs.checks import EVERYTHING_IS_DERIVED, everything_is_derived
from partner_center_pipeline.defs.derivation import make_scores
from partner_center_pipeline.defs.partitions import chain_asset
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.scoring import Category, Segment
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import schema, scores


@chain_asset(
    schema.company_scores,
    kinds={"python"},
    deps=[Asset.COMPANIES, Asset.DOMAIN_SIGNALS],
    check_specs=[EVERYTHING_IS_DERIVED],
)
def scored_segments(
    context: dg.AssetExecutionContext, config: DeriveConfig, grid: GridParam, warehouse: WarehouseResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Score the companies that changed or have new signals; a score that did not change is not written again."""
    now = utc_now()
    windows = windows_of(context, grid, now)
    with (
        as_dagster_failure(),
        warehouse.open() as db,
        downstream_step(db, Asset.SCORED_SEGMENTS, windows, now, force=config.force) as span,
    ):
        scored = make_scores(db, span, Settings.load(), now)
        derived = everything_is_derived(db)
        with db.read() as connection:
            counts = scores.by_segment_and_category(connection)
    yield result(  # not returned: Dagster would want the check in the annotation of what is returned
        windows,
        scored.written.rows,
        {
            **scored.written.shown(),
            "companies_by_segment": counts_table("segment", scored.segments),
            "changes_by_cause": counts_table("cause", scored.causes),
            **_plotted(counts),
        },
        [derived],
    )


def _plotted(counts: Mapping[tuple[str, str | None], int]) -> dict[str, int]:
    """Return how many companies are in each segment and category, as numbers that Dagster plots over time."""

    def of(place: int, value: str) -> int:
        return sum(number for pair, number in counts.items() if pair[place] == value)

    return {
        **{f"segment_{segment}": of(0, segment) for segment in Segment},
        **{f"category_{category}": of(1, category) for category in Category},
    }
