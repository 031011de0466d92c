"""scored_segments: a score, a segment and the reasons for each company."""

from collections.abc import Mapping

import dagster as dg

from partner_center_pipeline.alerts.ping import ping
from partner_center_pipeline.defs.asset_run import (
    DeriveConfig,
    as_dagster_failure,
    counts_table,
    downstream_step,
    windows_of,
)
from partner_center_pipeline.defs.catalog import rules_of_scores
from partner_center_pipeline.defs.derivation import make_scores
from partner_center_pipeline.defs.partitions import chain_asset
from partner_center_pipeline.defs.pictures import grid as picture
from partner_center_pipeline.defs.resources import GridParam, WarehouseResource, utc_now
from partner_center_pipeline.defs.window_figures import derived, keys_of, materialized
from partner_center_pipeline.scoring import Category, Segment
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import ledger, scores


@chain_asset(
    Asset.SCORED_SEGMENTS,
    kinds={"python"},
    deps=[Asset.COMPANIES, Asset.DOMAIN_SIGNALS],
    code=rules_of_scores,
)
def scored_segments(
    context: dg.AssetExecutionContext, config: DeriveConfig, grid: GridParam, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Score the companies that changed or have new signals; a score that did not change is not written again."""
    now = utc_now()
    windows = windows_of(context, grid, now)
    keys = keys_of(windows, "new", "changed")
    with as_dagster_failure(), warehouse.open() as db:
        settings = Settings.load()
        with db.read() as connection:
            was_done = ledger.is_done(connection, windows, ledger.CHAIN)
        with downstream_step(db, Asset.SCORED_SEGMENTS, windows, now, force=config.force) as span:
            scored = make_scores(db, span, settings, now, keys)
            numbers = derived(db, Asset.SCORED_SEGMENTS, windows, scored.written.shown(), keys)
            with db.read() as connection:
                counts = scores.by_segment_and_category(connection)
        if not was_done:
            ping(db, settings)
    return materialized(
        context,
        numbers,
        {
            "scored_by_segment": counts_table("segment", scored.segments),
            "changes_by_cause": counts_table("cause", scored.causes),
            "companies_by_segment_and_category": picture(
                counts, [str(one) for one in Segment], [*(str(one) for one in Category), None], "segment"
            ),
            **_plotted(counts),
        },
    )


def _plotted(counts: Mapping[tuple[str, str | None], int]) -> dict[str, int]:
    """Return how many companies are in each segment and category, as numbers that Dagster plots over time."""

    def of(place: int, value: str) -> int:
        return sum(number for pair, number in counts.items() if pair[place] == value)

    return {
        **{f"segment_{segment}": of(0, segment) for segment in Segment},
        **{f"category_{category}": of(1, category) for category in Category},
    }
