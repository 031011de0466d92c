"""domain_signals: what DNS says about the companies' domains."""

import dagster as dg
from pydantic import Field

from partner_center_pipeline.defs.asset_run import as_dagster_failure, counts_table, downstream_step, windows_of
from partner_center_pipeline.defs.catalog import rules_of_mail
from partner_center_pipeline.defs.derivation import ask_signals
from partner_center_pipeline.defs.enrichment import NO_ANSWER
from partner_center_pipeline.defs.partitions import chain_asset
from partner_center_pipeline.defs.pictures import bars
from partner_center_pipeline.defs.resources import GridParam, MailResource, WarehouseResource, utc_now
from partner_center_pipeline.defs.window_figures import derived, keys_of, materialized
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import check_figures


class AskConfig(dg.Config):
    """What a person may choose for a run of domain_signals."""

    ask_again: bool = Field(
        default=False,
        description="Ask DNS again about each company of these windows, however young its last answer is "
        "(HUNTER_SIGNALS_TTL_HOURS is ignored).",
    )


@chain_asset(Asset.DOMAIN_SIGNALS, kinds={"python", "dns"}, deps=[Asset.COMPANIES], code=rules_of_mail)
def domain_signals(
    context: dg.AssetExecutionContext,
    config: AskConfig,
    grid: GridParam,
    warehouse: WarehouseResource,
    mail: MailResource,
) -> dg.MaterializeResult[None]:
    """Ask DNS about changed companies and those of these windows: the new ones, and where the answer is too old."""
    now = utc_now()
    windows = windows_of(context, grid, now)
    keys = keys_of(windows, "asked", "without_an_answer")
    with (
        as_dagster_failure(),
        warehouse.open() as db,
        downstream_step(db, Asset.DOMAIN_SIGNALS, windows, now, force=config.ask_again) as span,
    ):
        settings = Settings.load()
        with mail.open(settings) as scan:
            done = ask_signals(db, span, scan, settings, now, keys)
        of_run = {"domains": done.domains, "still_fresh": done.domains - done.asked, **done.shown()}
        numbers = derived(db, Asset.DOMAIN_SIGNALS, windows, of_run, keys, rest=None)
        with db.read() as connection:
            providers = check_figures.providers(connection)
    if done.complaint is not None:
        context.log.error(done.complaint)
    return materialized(
        context,
        numbers,
        {
            "asked_by_provider": counts_table("provider", done.providers),
            "companies_by_provider": bars("provider", {name or NO_ANSWER: count for name, count in providers.items()}),
        },
    )
