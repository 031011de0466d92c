"""What Dagster's catalog says of the assets: descriptions, owners, versions of their code, columns and their sources.

Also the views, which are assets that nobody materializes. Not here: what a table or a view holds (`warehouse.schema`,
`warehouse.views`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg
from sqlalchemy import Table

from partner_center_pipeline.code_digest import digest_of
from partner_center_pipeline.defs.derivation import LEADS_PACKAGE, versions
from partner_center_pipeline.scoring import RulesError, ScorePolicy, load_rules
from partner_center_pipeline.scoring.row import score_digest
from partner_center_pipeline.settings import Settings, SettingsError
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import views
from partner_center_pipeline.warehouse.schema import TABLE_OF, columns_of, comment_of

GROUP: Final = "partner_center"

OPERATORS: Final = "team:operations"
"""The owner of what is fetched and derived: who acts when a check is red."""
SALES: Final = "team:sales"
"""The owner of the lists: who works from them."""

DESCRIPTIONS: Final[Mapping[Asset, str]] = {
    Asset.RAW_REFERRALS: "Fetches the referrals of a window from Partner Center and keeps every version as received. "
    "Materialize a window to fetch it again: what is known is not stored twice. Windows that another window covers, "
    "such as those before the first start that was set, show as missing until a sensor reports them as covered; "
    "nothing is missing in them.",
    Asset.NORMALIZED_LEADS: "Makes one lead of each referral: repaired texts, category, the domain of the company. "
    "After a change of the rules materialize its windows again, with `force` where nothing else changed; Partner "
    "Center is not asked.",
    Asset.COMPANIES: "Makes one company of all leads that name a domain, and suggests which companies may be the same. "
    "Decide about suggestions with `partner-center matches`.",
    Asset.DOMAIN_SIGNALS: "Asks DNS who hosts a company's mailboxes, and keeps what it said. Materialize a window with "
    "`ask_again` to ask again at once; otherwise the job partner_center_rescan does it when an answer is too old.",
    Asset.SCORED_SEGMENTS: "Scores each company and puts it in a segment and a category. People sell from what "
    "follows from it: the views leads_ready, leads_without_company and due_first, and the report.",
}


def rules_of_fetching() -> str:
    """Return the digest of the code that reads referrals."""
    return digest_of("partner_center_pipeline.partner_center")


def rules_of_leads() -> str:
    """Return the digest of the code and the lists by which leads and companies are made."""
    return digest_of(LEADS_PACKAGE, *versions())


def rules_of_mail() -> str:
    """Return the digest of the code and the provider table by which DNS is read."""
    return digest_of("partner_center_pipeline.mail")


def rules_of_scores() -> str:
    """Return the digest of the code, the rules and the settings by which companies are scored.

    Rules that cannot be used fail the runs, with the reason; the code location loads.
    """
    try:
        settings = Settings.load()
        return score_digest(load_rules(settings.scoring_rules), ScorePolicy.of(settings))
    except (RulesError, SettingsError):
        return digest_of("partner_center_pipeline.scoring")


def described(text: str, table: Table) -> str:
    """Return the description of an asset: what a person does with it, and what its table or view holds."""
    return f"{text}\n\nTable `{table.name}`: {table.comment}."


def table_metadata(table: Table) -> dict[str, Any]:
    """Return the name and the columns of a table or a view, as metadata of a definition."""
    return {
        "dagster/table_name": table.name,
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(column.name, str(column.type).lower(), description=comment_of(column))
                for column in table.columns
            ]
        ),
    }


# Where columns come from ----------------------------------------------------------------------------------------------

_Sources = Mapping[str, Sequence[tuple[Asset, str]]]


def _from(asset: Asset, *columns: str) -> list[tuple[Asset, str]]:
    return [(asset, column) for column in columns]


_RAW, _LEADS = Asset.RAW_REFERRALS, Asset.NORMALIZED_LEADS
_AS_STORED: Final = ("referral_id", "version", "updated_ticks", "updated_text")
_OWN: Final = ("source", "derived_with", "vanished_at", "former_domains")
"""Columns of leads that no column of raw_referrals gives."""

_OF_COMPANIES: Final[_Sources] = {
    **{name: _from(_LEADS, "domain") for name in ("domain", "domain_unicode", "domain_ascii_key")},
    **{name: _from(_LEADS, "company_name") for name in ("name", "name_key", "name_block")},
    **{
        name: _from(_LEADS, name)
        for name in ("country", "city", "deal_value", "currency", "tenant", "tenant_source", "updated_ticks")
    },
    "referrals": _from(_LEADS, "referral_id"),
    "referral_ids": _from(_LEADS, "referral_id"),
    "open_referrals": _from(_LEADS, "is_open"),
    "engagements": _from(_LEADS, "engagement_id", "referral_id"),
    "open_cosell": _from(_LEADS, "category", "is_open"),
    "cosell_referral": _from(_LEADS, "referral_id", "category", "is_open"),
    "next_expiry_ticks": _from(_LEADS, "expires_ticks", "is_open"),
}

_SCORED_FROM: Final = [
    *_from(Asset.COMPANIES, "domain", "tenant", "tenant_source", "open_cosell", "cosell_referral"),
    *_from(Asset.DOMAIN_SIGNALS, "signals"),
]
_OF_SCORES: Final[_Sources] = {
    "domain": _from(Asset.COMPANIES, "domain"),
    "referral_ids": _from(Asset.COMPANIES, "referral_ids"),
    "signals_at": _from(Asset.DOMAIN_SIGNALS, "facts_at"),
    **{
        name: _SCORED_FROM
        for name in columns_of(TABLE_OF[Asset.SCORED_SEGMENTS])
        if name not in ("domain", "referral_ids", "signals_at", "scored_at", "rules_version", "derived_with")
    },
}

_SOURCES: Final[Mapping[Asset, _Sources]] = {
    Asset.RAW_REFERRALS: {},
    Asset.NORMALIZED_LEADS: {
        **{name: _from(_RAW, name) for name in _AS_STORED},
        **{name: _from(_RAW, "payload") for name in columns_of(TABLE_OF[_LEADS]) if name not in (*_AS_STORED, *_OWN)},
    },
    Asset.COMPANIES: _OF_COMPANIES,
    Asset.DOMAIN_SIGNALS: {"domain": _from(Asset.COMPANIES, "domain")},
    Asset.SCORED_SEGMENTS: _OF_SCORES,
}


def lineage_of(asset: Asset) -> dg.TableColumnLineage:
    """Return from which columns of the assets before it the columns of an asset's table are made."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(dg.AssetKey(str(source)), name) for source, name in sources]
            for column, sources in _SOURCES[asset].items()
        }
    )


# The views ------------------------------------------------------------------------------------------------------------

_OF_LISTS: Final = (str(Asset.NORMALIZED_LEADS), str(Asset.COMPANIES), str(Asset.SCORED_SEGMENTS))
LISTS: Final = tuple(table.name for table in (views.leads_ready, views.leads_without_company, views.due_first))
"""The views that the report is made of."""

_VIEWS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    views.leads_ready.name: (
        "Work from this list: the companies to call, the best first. Open it in Excel or Power BI (`partner-center "
        "connect`), or with `partner-center export`.",
        _OF_LISTS,
    ),
    views.leads_without_company.name: (
        "Look here for leads that name no company: answer them by themselves, set a domain with `partner-center lead`, "
        "or accept a suggested company.",
        _OF_LISTS,
    ),
    views.due_first.name: ("Answer these first: open leads by the deadline that is still to come.", _OF_LISTS),
    views.company_card.name: (
        "Read all that is known of one company before a call; `partner-center inspect` shows it.",
        (views.leads_ready.name, str(Asset.DOMAIN_SIGNALS)),
    ),
    views.sync_health.name: (
        "See whether the copy of Partner Center is up to date, such as in a tile of a Power BI report.",
        (str(Asset.RAW_REFERRALS),),
    ),
}
"""What a person does with each view, and the assets that it is made of."""


def view_specs() -> list[dg.AssetSpec]:
    """Return the views as assets that exist without being materialized: they are true whenever they are read."""
    specs = []
    for table in views.VIEWS:
        text, sources = _VIEWS[table.name]
        specs.append(
            dg.AssetSpec(
                table.name,
                deps=list(sources),
                description=described(text, table).replace("Table", "View", 1),
                group_name=GROUP,
                owners=[OPERATORS if table is views.sync_health else SALES],
                kinds={"sql"},
                metadata=table_metadata(table),
            )
        )
    return specs
