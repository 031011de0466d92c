"""domain_signals: what DNS says about the companies' domains."""

from collections import Counter

import dagster as dg

from partner_center_pipeline.defs.grid import chain_asset
from partner_center_pipeline.defs.resources import MailResource, WarehouseResource, utc_now
from partner_center_pipeline.defs.run import counts_table, failing_for_people, result, step, windows_of
from partner_center_pipeline.defs.scan_and_score import ask, keep
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import leads, schema, signals
from partner_center_pipeline.warehouse.bulk import chunks
from partner_center_pipeline.warehouse.schema import Asset


@chain_asset(schema.domain_signals, kinds={"python", "dns"}, deps=[Asset.COMPANIES])
def domain_signals(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, mail: MailResource
) -> dg.MaterializeResult[None]:
    """The mail set-up of the companies of these windows: asked when new, or when the last answer is too old."""
    now = utc_now()
    windows = windows_of(context, now)
    providers, unanswered, asked, changes = Counter[str](), 0, 0, 0
    with (
        failing_for_people(),
        warehouse.open() as house,
        step(context, house, Asset.DOMAIN_SIGNALS, windows, now) as done,
    ):
        settings = Settings.load()
        with house.read() as connection:
            named = leads.domains_of_span(connection, done.start, done.end)
            due = signals.due(connection, named, now)
        with mail.open(settings) as scan:
            for some in chunks(due):
                answers = ask(house, scan, some)
                with house.write() as connection:
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
