"""domain_signals: what DNS says about the companies' domains."""

import dagster as dg

from partner_center_pipeline.defs.asset_run import as_dagster_failure, counts_table, downstream_step, result, windows_of
from partner_center_pipeline.defs.derivation import ask_signals
from partner_center_pipeline.defs.partitions import chain_asset
from partner_center_pipeline.defs.resources import GridParam, MailResource, WarehouseResource, utc_now
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import schema


@chain_asset(schema.domain_signals, kinds={"python", "dns"}, deps=[Asset.COMPANIES])
def domain_signals(
    context: dg.AssetExecutionContext, grid: GridParam, warehouse: WarehouseResource, mail: MailResource
) -> dg.MaterializeResult[None]:
    """Ask DNS about changed companies and those of these windows: the new ones, and where the answer is too old."""
    now = utc_now()
    windows = windows_of(context, grid, now)
    with (
        as_dagster_failure(),
        warehouse.open() as db,
        downstream_step(db, Asset.DOMAIN_SIGNALS, windows, now) as span,
    ):
        settings = Settings.load()
        with mail.open(settings) as scan:
            done = ask_signals(db, span, scan, settings, now)
    return result(
        windows,
        done.asked,
        {
            "domains": done.domains,
            "asked": done.asked,
            "still_fresh": done.domains - done.asked,
            "set_ups_changed": done.changed,
            "without_an_answer": done.unanswered,
            "asked_by_provider": counts_table("provider", done.providers),
        },
    )
