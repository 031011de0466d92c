"""domain_signals: what DNS says about the companies' domains."""

from collections import Counter

import dagster as dg

from partner_center_pipeline.defs.asset_run import as_dagster_failure, counts_table, downstream_step, result, windows_of
from partner_center_pipeline.defs.enrichment import ask, keep
from partner_center_pipeline.defs.partitions import chain_asset
from partner_center_pipeline.defs.resources import GridParam, MailResource, WarehouseResource, utc_now
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import leads, schema, signals
from partner_center_pipeline.warehouse.bulk import chunks


@chain_asset(schema.domain_signals, kinds={"python", "dns"}, deps=[Asset.COMPANIES])
def domain_signals(
    context: dg.AssetExecutionContext, grid: GridParam, warehouse: WarehouseResource, mail: MailResource
) -> dg.MaterializeResult[None]:
    """Ask DNS about the companies of these windows: those that are new, or whose last answer is too old."""
    now = utc_now()
    windows = windows_of(context, grid, now)
    providers, unanswered, asked, changes = Counter[str](), 0, 0, 0
    with (
        as_dagster_failure(),
        warehouse.open() as db,
        downstream_step(context, db, Asset.DOMAIN_SIGNALS, windows, now) as done,
    ):
        settings = Settings.load()
        with db.read() as connection:
            named = leads.domains_of_span(connection, done.start, done.end)
            due = signals.due(connection, named, now)
        with mail.open(settings) as scan:
            for chunk in chunks(due):
                answers = ask(db, scan, chunk)
                with db.write() as connection:
                    rows, changed = keep(connection, answers, settings.signals_ttl_hours)
                asked += len(rows)
                changes += changed
                unanswered += sum(not row["is_complete"] for row in rows)
                providers.update(row["provider"] for row in rows)
        done.rows = asked
    return result(
        windows,
        asked,
        {
            "domains": len(named),
            "asked": asked,
            "still_fresh": len(named) - asked,
            "set_ups_changed": changes,
            "without_an_answer": unanswered,
            "asked_by_provider": counts_table("provider", providers),
        },
    )
