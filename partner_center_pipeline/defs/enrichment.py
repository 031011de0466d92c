"""Asking DNS about companies and scoring them, a chunk at a time: shared by the last two assets and the rescan.

Not here: which domains (`derivation`, `rescan`), and any rule (`mail`, `scoring`).
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from partner_center_pipeline.mail import MailSignals
from partner_center_pipeline.mail.classification import local_host_of
from partner_center_pipeline.mail.history import is_known
from partner_center_pipeline.mail.row import row_of
from partner_center_pipeline.scoring import ScoreInput, ScorePolicy, load_rules, score_domain
from partner_center_pipeline.scoring.row import score_columns, score_digest
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.telling import Paced, shown_seconds
from partner_center_pipeline.vocabulary import Provider
from partner_center_pipeline.warehouse import companies, published, scores, signals
from partner_center_pipeline.warehouse.database import Warehouse

_log = logging.getLogger(__name__)

Row = Mapping[str, Any]
Scan = Callable[[Sequence[str], Mapping[str, MailSignals]], Iterator[MailSignals]]
"""Given domains and what is known of them, each one's signals as they come."""


class DnsProgress:
    """Tells how many of about `total` domains DNS was asked about, and how many answers were missing."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = self._incomplete = 0
        self._began = time.monotonic()
        self._tell = Paced(_log)

    def count(self, answer: MailSignals) -> MailSignals:
        """Count a domain that is done, and return it."""
        self._done += 1
        self._incomplete += not answer.is_complete
        self._tell("DNS: %d of %d domains, %d without all answers", self._done, self._total, self._incomplete)
        return answer

    def end(self) -> None:
        """Tell that all are done."""
        _log.info(
            "DNS: done, %d domains asked in %s, %d without all answers",
            self._done, shown_seconds(time.monotonic() - self._began), self._incomplete,
        )  # fmt: skip


def ask(db: Warehouse, scan: Scan, domains: Sequence[str], progress: DnsProgress) -> list[MailSignals]:
    """Ask DNS about each of the domains. No transaction is open meanwhile."""
    with db.read() as connection:
        before = signals.load(connection, domains)
    known = {domain: MailSignals.from_row(row["signals"]) for domain, row in before.items()}
    return [progress.count(answer) for answer in scan(domains, known)]


@dataclass(slots=True)
class Asked:
    """What was asked: domains looked at and asked; `failed` look-ups; set-ups new and changed; answers by provider.

    A look-up failed when DNS did not answer something that could change the score; what was known before stays.
    """

    domains: int = 0
    asked: int = 0
    failed: int = 0
    new: int = 0
    changed: int = 0
    providers: Counter[str] = field(default_factory=Counter)

    def take(self, rows: Sequence[Row], set_ups: signals.SetUps) -> None:
        """Count what `keep` returned."""
        self.asked += len(rows)
        self.failed += sum(row["failures"] > 0 for row in rows)
        self.new += set_ups.new
        self.changed += set_ups.changed
        self.providers.update(row["provider"] if is_known(row) else NO_ANSWER for row in rows)

    def shown(self) -> dict[str, int]:
        """Return the counts by the names that people see."""
        return {
            "asked": self.asked,
            "set_ups_new": self.new,
            "set_ups_changed": self.changed,
            "without_an_answer": self.failed,
        }

    @property
    def complaint(self) -> str | None:
        """What to do when most look-ups went unanswered; None when they did not."""
        return unanswered(self.asked, self.failed)


NO_ANSWER: Final = "no answer yet"
"""What is counted in the place of a provider where DNS has never answered."""

FEW: Final = 5
"""Look-ups of which nothing can be said: name servers of single companies are often out of order."""


def unanswered(asked: int, failed: int) -> str | None:
    """Return what to do when most of the look-ups went unanswered; None when they did not, or were too few to tell."""
    if asked < FEW or failed * 2 <= asked:
        return None
    return (
        f"DNS did not answer for {failed} of {asked} companies that were asked about. No mail set-up was changed by "
        "that, and companies without an earlier answer are Pending. Check the network and "
        "HUNTER_DNS_RESOLVERS. They are asked again by themselves, or at once by the job partner_center_rescan with "
        "`ignore_ttl`"
    )


def keep(connection: Connection, answers: Sequence[MailSignals], ttl_hours: int) -> tuple[list[Row], signals.SetUps]:
    """Store the answers beside the known facts; return the rows of `domain_signals` and which set-ups changed."""
    stored = signals.load(connection, [answer.domain for answer in answers])
    rows: list[Row] = [row_of(answer, stored.get(answer.domain), ttl_hours) for answer in answers]
    return rows, signals.write(connection, rows)


class Scoring:
    """Scores companies under the rules and settings of one moment."""

    def __init__(self, settings: Settings, now: datetime) -> None:
        """Load the rules. Raises RulesError for a rules file (HUNTER_SCORING_RULES) that cannot be used."""
        self._rules = load_rules(settings.scoring_rules)
        self._policy = ScorePolicy.of(settings)
        self._now = now
        self._tell = settings.teams_webhook_url is not None
        self.digest: Final = score_digest(self._rules, self._policy)
        """Of the rules, the settings and the code."""

    def publish(self, connection: Connection) -> None:
        """Write what the lists need of the rules and settings."""
        published.publish(connection, self._rules, self._policy)

    def score(self, connection: Connection, domains: Sequence[str]) -> tuple[list[Row], scores.ScoresWritten]:
        """Score the companies of these domains; return the rows of `company_scores` and what changed."""
        stored = signals.load(connection, domains)
        found = companies.load(connection, domains)
        rows = [self._row(company, stored.get(domain)) for domain, company in found.items()]
        return rows, scores.write(connection, rows, tell=self._tell)

    def _row(self, company: Row, stored: Row | None) -> Row:
        # A domain that was never asked has signals too: none that is a fact.
        known = MailSignals.from_row(stored["signals"]) if stored else MailSignals(company["domain"], self._now)
        inputs = score_input(company, known)
        return {
            "domain": company["domain"],
            **score_columns(score_domain(inputs, self._rules, self._policy), self._rules),
            "inputs": {**asdict(inputs), **asdict(self._policy)},
            "referral_ids": company["referral_ids"],
            "signals_at": stored["facts_at"] if stored else None,
            "scored_at": self._now,
            "derived_with": self.digest,
        }


def score_input(company: Row, known: MailSignals) -> ScoreInput:
    """Return a company's row and its signals as the input of scoring.

    The domain is valid: a company has no other. Tenant evidence of a referral goes before that of DNS: a referral names
    the tenant, DNS only hints at it.
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
        local_host=_local_host(known),
        gateway=_gateway(known),
        unanswered=", ".join(known.unanswered) or None,
        spf_error=known.spf_error,
        spf_ignored=known.spf.ignored,
        spf_allows_all=known.spf.allows_all,
        dmarc_testing=known.dmarc is not None and known.dmarc.t == "y",
        cosell_referral=company["cosell_referral"],
        mx_host=_deciding_record(known),
        dkim_selector=known.dkim_selectors[0] if known.dkim_selectors else None,
    )


def _gateway(known: MailSignals) -> str | None:
    """Return the filter in front of the mailbox, with the MX host that names it."""
    host = next((one.detail for one in known.evidence if one.kind == "gateway"), None)
    return f"{known.gateway}: {host}" if known.gateway and host else known.gateway


def _deciding_record(known: MailSignals) -> str | None:
    """Return the record that shows the provider, or what shows that there is no mail host.

    This is not always an MX host: behind a gateway it is a DKIM target, an autodiscover host or an SPF include.
    """
    if known.no_mx:
        return known.mx[0][1] if known.mx else known.no_mx_reason
    if known.decided_by is not None:
        return known.decided_by.detail
    # What an older version stored does not say what decided: an MX host of the provider's did.
    points_to = (known.provider.value, known.provider_name)
    of_mx = (one for one in known.evidence if one.kind in ("mx", "mx_cname") and one.points_to in points_to)
    return next((one.detail for one in of_mx), None)


def _local_host(known: MailSignals) -> str | None:
    if known.provider is not Provider.LOCAL or known.local_host is not None or not known.mx:
        return known.local_host
    return local_host_of(known.domain, known.mx[0][1])
