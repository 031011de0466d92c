"""scored_segments: a score, a segment and the reasons for each company."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import dagster as dg

from partner_center_pipeline.defs.grid import chain_asset
from partner_center_pipeline.defs.resources import WarehouseResource, utc_now
from partner_center_pipeline.defs.run import counts_table, failing_for_people, result, step, windows_of
from partner_center_pipeline.mail import MailSignals
from partner_center_pipeline.scoring import Score, ScoreInput, ScorePolicy, score_domain
from partner_center_pipeline.scoring.history import change_between
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import companies, leads, schema, scores, signals
from partner_center_pipeline.warehouse.bulk import chunks
from partner_center_pipeline.warehouse.schema import Asset


@chain_asset(schema.company_scores, kinds={"python"}, deps=[Asset.COMPANIES, Asset.DOMAIN_SIGNALS])
def scored_segments(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """The companies of these windows, scored; a score that did not change is left alone."""
    now = utc_now()
    windows = windows_of(context, now)
    written, segments, causes = leads.Written(), Counter[str](), Counter[str]()
    with failing_for_people(), warehouse.open() as house, step(house, Asset.SCORED_SEGMENTS, windows, now) as done:
        policy = _policy(Settings.load())
        with house.read() as connection:
            domains = leads.domains_of_span(connection, done.start, done.end)
        for some in chunks(domains):
            with house.write() as connection:
                heard = signals.load(connection, some)
                rows = [
                    _row(company, heard.get(domain), policy, now)
                    for domain, company in companies.load(connection, some).items()
                ]
                outcome = scores.write(connection, rows, change_between)
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


def _policy(settings: Settings) -> ScorePolicy:
    return ScorePolicy(
        cosell_bonus=settings.partner_center_cosell_bonus,
        azure_tenant_score=settings.partner_center_azure_tenant_score,
        tenant_discovery_enabled=settings.tenant_discovery_enabled,
    )


def _row(
    company: Mapping[str, Any], heard: Mapping[str, Any] | None, policy: ScorePolicy, now: datetime
) -> dict[str, Any]:
    # A domain that was never asked has signals too: none that is a fact.
    known = MailSignals.from_row(heard["signals"]) if heard else MailSignals(company["domain"], now)
    inputs = _inputs(company, known)
    score: Score = score_domain(inputs, policy=policy)
    return {
        "domain": company["domain"],
        "score": score.score,
        "readiness": score.readiness,
        "segment": score.segment,
        "segment_reason": score.segment_reason,
        "reasons": score.reasons_plain(),
        "commercial_segment": score.commercial_segment,
        "technical_heat": score.technical_heat,
        "commercial_heat": score.commercial_heat,
        "category": score.category,
        "label": score.label,
        "act": score.act,
        "rules_version": score.rules_version,
        "inputs": {**asdict(inputs), **asdict(policy)},
        "referral_ids": company["referral_ids"],
        "signals_at": heard["facts_at"] if heard else None,
        "scored_at": now,
    }


def _inputs(company: Mapping[str, Any], known: MailSignals) -> ScoreInput:
    """A company's row and its signals under the names that scoring gives them.

    The domain is valid: a company has no other. Evidence that a referral brought stands before what DNS shows: it
    names the tenant, DNS only hints at it.
    """
    of_referral = bool(company["tenant"])
    return ScoreInput(
        domain=company["domain"],
        domain_valid=True,
        provider=known.provider,
        no_mx=known.no_mx,
        signals_complete=known.is_complete,
        spf_present=known.spf.present,
        spf_multiple=known.spf.multiple,
        spf_includes=known.spf.include_count,
        dkim_present=known.dkim_present,
        dmarc_policy=known.dmarc_policy,
        tenant=company["tenant"] if of_referral else known.tenant,
        tenant_source=company["tenant_source"] if of_referral else known.tenant_source,
        open_cosell=company["open_cosell"],
        cosell_referral=company["cosell_referral"],
        mx_host=known.mx[0][1] if known.mx else known.no_mx_reason,
        dkim_selector=known.dkim_selectors[0] if known.dkim_selectors else None,
    )
