"""The data of a report: rows of its lists, what the reader chose, summary figures and cards. Plain data only.

Not here: where rows come from (`reading`), what a list's columns are (`columns`), how a file is written (`xlsx`,
`csv_file`, `page`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Self

from partner_center_pipeline.vocabulary import Language

REFERRALS_PAGE: Final = "https://partner.microsoft.com/dashboard/referrals/v2/leads"
"""The Referrals page of Partner Center (Microsoft Learn, "Customer leads"). No address of a single referral is
documented, so links lead there; the referral's id is what to search for."""


class ReportError(Exception):
    """A report cannot be written. The message says why and what to do."""


class Format(StrEnum):
    """What a report is written as."""

    XLSX = "xlsx"
    CSV = "csv"
    HTML = "html"


class ListName(StrEnum):
    """The lists of a report, in their order."""

    DUE_FIRST = "due_first"
    LEADS = "leads"
    WITHOUT_COMPANY = "without_company"
    NEW_AND_MOVED = "new_and_moved"


class ChangeKind(StrEnum):
    """What happened to a lead or a company since the last report, in the order of the list."""

    NEW = "new"
    MOVED_UP = "moved_up"
    MOVED_DOWN = "moved_down"
    OTHER_SEGMENT = "other_segment"
    """The same score in another segment."""
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason of a score: its code, its points, and what was seen."""

    code: str
    points: int
    evidence: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadRow:
    """A row of a list: the columns that `leads_ready`, `leads_without_company` and `due_first` share.

    Instants are UTC. `domain` is None without a company; `hours_left` and `kind` are of `due_first` only.
    """

    rank: int
    referral_id: str | None = None
    engagement_id: str | None = None
    company_name: str | None = None
    domain: str | None = None
    domain_unicode: str | None = None
    country: str | None = None
    city: str | None = None
    category: str | None = None
    label: str | None = None
    label_tr: str | None = None
    act: str | None = None
    act_tr: str | None = None
    segment: str | None = None
    segment_reason: str | None = None
    score: int | None = None
    readiness: int | None = None
    reasons: tuple[Reason, ...] = ()
    explanation_en: str | None = None
    explanation_tr: str | None = None
    provider: str | None = None
    provider_name: str | None = None
    gateway: str | None = None
    open_referrals: int | None = None
    open_cosell: bool | None = None
    referral_category: str | None = None
    qualification: str | None = None
    status: str | None = None
    substatus: str | None = None
    updated_at: datetime | None = None
    created_at: datetime | None = None
    response_due: datetime | None = None
    is_due_live: bool | None = None
    due_note: str | None = None
    deal_value: Decimal | None = None
    currency: str | None = None
    deal_value_reported: Decimal | None = None
    reported_currency: str | None = None
    rate_note: str | None = None
    contact_name: str | None = None
    contact_email: str | None = None
    contact_phone: str | None = None
    tenant: str | None = None
    tenant_source: str | None = None
    suggested_domain: str | None = None
    suggested_name: str | None = None
    suggested_similarity: int | None = None
    domain_reason: str | None = None
    suggested_group: str | None = None
    suggested_count: int | None = None
    decision: str | None = None
    decision_until: datetime | None = None
    decided_at: datetime | None = None
    decided_by: str | None = None
    is_set_aside: bool | None = None
    hours_left: float | None = None
    kind: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Make a row from columns of a view; columns that a report does not know are left out."""
        known = {name: row[name] for name in _LEAD_COLUMNS & row.keys()}
        reasons = tuple(Reason(one["code"], one["points"], one.get("evidence")) for one in known.get("reasons") or ())
        return cls(**{**known, "reasons": reasons})


_LEAD_COLUMNS: Final = {one.name for one in fields(LeadRow)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """A row of the list "New and moved": what happened, when (UTC), and to whom. `domain` is None without a company."""

    kind: ChangeKind
    at: datetime
    company_name: str | None
    domain: str | None = None
    domain_unicode: str | None = None
    referral_id: str | None = None
    segment_before: str | None = None
    segment_after: str | None = None
    score_before: int | None = None
    score_after: int | None = None
    cause: str | None = None
    response_due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows of the lists a report shows. An empty set chooses every row.

    segments      values of `Segment`
    categories    values of `Category`
    sources       where the referral comes from: marketplace, solution-provider, co-sell or unknown
    due_within    only rows whose response deadline is still to come, and no later than this from now
    """

    segments: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    due_within: timedelta | None = None

    @property
    def is_all(self) -> bool:
        """Whether every row is chosen."""
        return not (self.segments or self.categories or self.sources or self.due_within)

    def takes(self, row: LeadRow, now: datetime) -> bool:
        """Return whether a row is chosen; `now` is UTC."""
        if self.segments and row.segment not in self.segments:
            return False
        if self.categories and row.category not in self.categories:
            return False
        if self.sources and row.referral_category not in self.sources:
            return False
        if self.due_within is None:
            return True
        return row.response_due is not None and now <= row.response_due <= now + self.due_within


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a report says about itself.

    made_at, since   UTC; "New and moved" is what happened after `since`
    with_contacts    whether the contacts' personal data is in the file
    """

    made_at: datetime
    since: datetime
    language: Language = Language.EN
    with_contacts: bool = False
    choice: Choice = Choice()


@dataclass(slots=True)
class Figures:
    """What the charts and the summary count.

    The first block counts the rows of the lists that were chosen; the second all referrals, chosen or not.

    due                 rows of `due_first` that nobody has set aside
    due_within_72h      those of them that have 72 hours or less
    leads_per_week      by the Monday of the week in which a lead was created
    answers             how many leads were answered within each of ANSWER_DAYS, later, or not yet
    """

    companies: int = 0
    open_companies: int = 0
    without_company: int = 0
    due: int = 0
    due_within_72h: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    segments: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    providers: Counter[str] = field(default_factory=Counter)

    leads_per_week: dict[date, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)

    def count(self, name: ListName, row: "LeadRow | ChangeRow") -> None:
        """Count a row of a list."""
        if isinstance(row, ChangeRow):
            self.changes[row.kind] += 1
        elif name is ListName.DUE_FIRST:
            self.due += not row.is_set_aside
            is_near = row.hours_left is not None and row.hours_left <= SOON_HOURS
            self.due_within_72h += is_near and not row.is_set_aside
        elif name is ListName.WITHOUT_COMPANY:
            self.without_company += 1
        else:
            self.companies += 1
            self.open_companies += bool(row.open_referrals)
            self.segments[row.segment or ""] += 1
            self.categories[row.category or ""] += 1
            self.providers[row.provider or ""] += 1


SOON_HOURS: Final = 72
"""A deadline this near is shown as urgent."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of a card's history: when (UTC), and what changed, in words."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """What a page shows of one company on a click, besides its row: its referrals and its history."""

    referrals: tuple[Mapping[str, Any], ...] = ()
    history: tuple[Event, ...] = ()
