"""Asking DNS about some companies and scoring some: what the chain's last two assets and the rescan share.

Belongs here: bringing the pure rules of `mail` and `scoring` and the warehouse's rows together, a chunk of domains at a
time. Not here: which domains (the assets, `rescan`), and any rule.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from partner_center_pipeline.mail import MailSignals, history
from partner_center_pipeline.mail.row import row_of
from partner_center_pipeline.scoring import ScoreInput, ScorePolicy, load_rules, score_domain
from partner_center_pipeline.scoring.history import change_between
from partner_center_pipeline.scoring.row import score_columns
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import companies, scores, signals
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import datetime_of

Row = Mapping[str, Any]
Scan = Callable[[Sequence[str], Mapping[str, MailSignals]], Iterator[MailSignals]]
"""Given domains and what is known of them, each one's signals as they come."""


def ask(house: Warehouse, scan: Scan, domains: Sequence[str]) -> list[MailSignals]:
    """What DNS says now about each of the domains. No transaction is open meanwhile."""
    with house.read() as connection:
        before = signals.load(connection, domains)
    return list(scan(domains, {domain: MailSignals.from_row(row["signals"]) for domain, row in before.items()}))


def keep(connection: Connection, answers: Sequence[MailSignals], ttl_hours: int) -> tuple[list[Row], int]:
    """Store the answers beside the facts that were known; the rows of `domain_signals`, how many set-ups changed."""
    stored = signals.load(connection, [answer.domain for answer in answers])
    rows: list[Row] = [row_of(answer, stored.get(answer.domain), ttl_hours) for answer in answers]
    return rows, signals.write(connection, rows, history.change_between)


class Scoring:
    """The rules and the operator's choices at one moment, and the scoring of companies under them."""

    def __init__(self, settings: Settings, now: datetime) -> None:
        """Raises RulesError for a rules file (HUNTER_SCORING_RULES) that cannot be used."""
        self._rules = load_rules(settings.scoring_rules)
        self._policy = ScorePolicy.of(settings)
        self._now = now

    def score(self, connection: Connection, domains: Sequence[str]) -> tuple[list[Row], scores.ScoresWritten]:
        """Score the companies of these domains; the rows of `company_scores`, and what changed."""
        heard = signals.load(connection, domains)
        found = companies.load(connection, domains)
        rows = [self._row(company, heard.get(domain)) for domain, company in found.items()]
        return rows, scores.write(connection, rows, change_between)

    def _row(self, company: Row, heard: Row | None) -> Row:
        # A domain that was never asked has signals too: none that is a fact.
        known = MailSignals.from_row(heard["signals"]) if heard else MailSignals(company["domain"], self._now)
        inputs = _inputs(company, known)
        return {
            "domain": company["domain"],
            **score_columns(score_domain(inputs, self._rules, self._policy), self._rules),
            "inputs": {**asdict(inputs), **asdict(self._policy)},
            "referral_ids": company["referral_ids"],
            "signals_at": heard["facts_at"] if heard else None,
            "scored_at": self._now,
        }


def _inputs(company: Row, known: MailSignals) -> ScoreInput:
    """A company's row and its signals under the names that scoring gives them.

    The domain is valid: a company has no other. Evidence that a referral brought stands before what DNS shows: it
    names the tenant, DNS only hints at it.
    """
    of_referral = bool(company["tenant"])
    due = company["next_expiry_ticks"]
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
        response_due=None if due is None else f"{datetime_of(due):%Y-%m-%dT%H:%M:%SZ}",
        mx_host=_deciding_host(known),
        dkim_selector=known.dkim_selectors[0] if known.dkim_selectors else None,
    )


def _deciding_host(known: MailSignals) -> str | None:
    """What the provider, or that there is no mail host, was read from. The first MX host need not be it: of several
    with one preference a known mailbox decides."""
    if known.no_mx_reason is not None and not known.mx:
        return known.no_mx_reason
    seen = next((one.detail for one in known.evidence if one.kind in ("mx", "mx_cname", "gateway")), None)
    return seen or (known.mx[0][1] if known.mx else None)
