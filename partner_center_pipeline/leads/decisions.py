"""What people decided about leads, and what follows from it for a lead's domain (decisions.md).

A decision about a domain or a match is applied whenever a lead is made of its referral, so nothing that Partner Center
sends later undoes it. Not here: where decisions are kept (`warehouse.decisions`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from partner_center_pipeline.leads.customer_domain import DomainReason, read_domain
from partner_center_pipeline.leads.lead import LeadFacts

DECIDED: Final = "decision"
"""The `domain_source` of a lead whose domain a person set, or whose company a person accepted."""


class DecisionKind(StrEnum):
    """What a decision is about. Its subject is a referral's id; of COMPANY_MATCH a company's domain."""

    DOMAIN = "domain"
    MARK = "mark"
    LEAD_MATCH = "lead_match"
    """Whether a lead without a domain belongs to a company."""
    COMPANY_MATCH = "company_match"
    """Whether two companies are one."""


class DomainChoice(StrEnum):
    """What a person says about a lead's domain."""

    SET = "set"
    REFUSED = "refused"
    """What the referral names is not the customer's, and the customer's is not known."""
    CLEARED = "cleared"
    """The domain is what the referral names, again."""


class Mark(StrEnum):
    """How far a salesperson is with a lead."""

    CONTACTED = "contacted"
    NOT_INTERESTED = "not_interested"
    SNOOZED = "snoozed"
    REOPENED = "reopened"


class Verdict(StrEnum):
    """What a person says about a suggested match."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDONE = "undone"
    """Neither: it may be suggested again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A decision to be kept. `until_ticks` is of a snooze only, `group_id` of a match.

    `domain` is the one that is set; of a match the company that the subject counts as.
    """

    kind: DecisionKind
    subject: str
    choice: DomainChoice | Mark | Verdict
    domain: str | None = None
    until_ticks: int | None = None
    group_id: str | None = None


@dataclass(frozen=True, slots=True)
class Author:
    """Who decided, when (UTC) and why."""

    by: str
    at: datetime
    note: str | None = None


@dataclass(frozen=True, slots=True)
class LeadState:
    """A lead as people decide about it: its row of `leads`, its newest mark, and the newest decision about its domain.

    `mark` and `domain` are rows of `decisions`, None before the first.
    """

    lead: Mapping[str, Any]
    mark: Mapping[str, Any] | None
    domain: Mapping[str, Any] | None

    @property
    def by_hand(self) -> Mapping[str, Any] | None:
        """The decision that gives the lead its domain, or refuses the one that was found; None where none does."""
        return None if self.domain is None or self.domain["choice"] == DomainChoice.CLEARED else self.domain


@dataclass(frozen=True, slots=True)
class DomainDecisions:
    """The decisions in force about the domains of some leads.

    by_hand     by referral id: the domain that was set; None where what the referral names was refused
    accepted    by referral id: the company that the lead belongs to by an accepted match
    merged      by domain: the company that the company of this domain counts as
    """

    by_hand: Mapping[str, str | None] = field(default_factory=dict)
    accepted: Mapping[str, str] = field(default_factory=dict)
    merged: Mapping[str, str] = field(default_factory=dict)


def decided(referral_id: str, facts: LeadFacts, decisions: DomainDecisions, own_domains: frozenset[str]) -> LeadFacts:
    """Return a lead's facts with what people decided about its domain.

    A domain set by hand goes before an accepted match, and that before what the referral names. What comes of it counts
    as the company that its company was merged into. A domain of the partner's own (`own_domains`) is never a lead's.
    """
    domain, host, source, reason = facts.domain, facts.host, facts.domain_source, facts.domain_reason
    if referral_id in decisions.by_hand:
        domain = decisions.by_hand[referral_id]
        host, source, reason = domain, DECIDED, None
        if domain is None:
            source, reason = None, DomainReason.REFUSED_BY_HAND
    elif referral_id in decisions.accepted:
        domain = decisions.accepted[referral_id]
        host, source, reason = domain, DECIDED, None
    if domain is not None:
        domain = counts_as(domain, decisions.merged)
        if domain != facts.domain and read_domain(domain, own_domains) is DomainReason.OWN_DOMAIN:
            domain, host, source, reason = None, None, None, DomainReason.OWN_DOMAIN
    if (domain, host, source, reason) == (facts.domain, facts.host, facts.domain_source, facts.domain_reason):
        return facts
    return replace(facts, domain=domain, host=host, domain_source=source, domain_reason=reason)


def counts_as(domain: str, merged: Mapping[str, str]) -> str:
    """Return the company that a company counts as: where `merged` leads to, step by step. A circle ends where it began.

    The commands refuse a match that would make a circle.
    """
    seen = {domain}
    while domain in merged and merged[domain] not in seen:
        domain = merged[domain]
        seen.add(domain)
    return domain
