"""The columns of each list: heading, kind of value, width, and where the value comes from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from typing import Any, Final

from partner_center_pipeline.reports.model import About, ChangeRow, LeadRow, ListName
from partner_center_pipeline.reports.words import Words

Value = str | int | float | Decimal | datetime | None


class Kind(Enum):
    """What a column holds, which decides its format and its place in the cell."""

    TEXT = auto()
    LONG_TEXT = auto()
    """Sentences."""
    WHOLE = auto()
    HOURS = auto()
    MONEY = auto()
    INSTANT = auto()
    SEGMENT = auto()
    """The segment's word, coloured by segment."""
    DECISION = auto()
    """A person's mark: a cell to be filled in, with a list to choose from."""
    DAY = auto()
    """A day to be filled in."""
    LINK = auto()
    """A referral's id, a link to Partner Center."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the key of its heading, its kind, its width in characters, and its value for a row."""

    key: str
    kind: Kind
    width: int
    value: Callable[[Any, Words], Value]
    personal: bool = False
    """Whether it is a contact's personal data."""


def _plain(key: str, kind: Kind, width: int, name: str | None = None, *, personal: bool = False) -> Column:
    field = name or key
    return Column(key, kind, width, lambda row, _: getattr(row, field), personal)


_NAME: Final = _plain("company_name", Kind.TEXT, 28)
_DOMAIN: Final = Column("domain", Kind.TEXT, 24, lambda row, _: row.domain_unicode or row.domain)
_DUE: Final = _plain("response_due", Kind.INSTANT, 17)
_SEGMENT: Final = Column("segment", Kind.SEGMENT, 12, lambda row, words: words.known("segment", row.segment))
_CATEGORY: Final = _plain("category", Kind.TEXT, 10)
_LABEL: Final = Column("label", Kind.TEXT, 24, lambda row, words: words.label(row))
_ACT: Final = Column("act", Kind.TEXT, 20, lambda row, words: words.act(row))
_WHY: Final = Column("why", Kind.LONG_TEXT, 80, lambda row, words: words.why(row))
_NOTE: Final = Column("note", Kind.TEXT, 24, lambda row, words: words.note(row))
_DECISION: Final = (
    Column("decision", Kind.DECISION, 18, lambda row, words: words.known("decision", row.decision)),
    _plain("decision_until", Kind.DAY, 14),
)
_DECIDED: Final = (_plain("decided_by", Kind.TEXT, 16), _plain("decided_at", Kind.INSTANT, 18))
_PROVIDER: Final = Column("provider", Kind.TEXT, 22, lambda row, words: words.provider(row))
_SOURCE: Final = Column(
    "source", Kind.TEXT, 20, lambda row, words: words.sentence("referral_category", row.referral_category)
)
_STATUS: Final = Column("status", Kind.TEXT, 20, lambda row, words: words.status(row.status, row.substatus))
_REFERRAL: Final = _plain("referral_id", Kind.LINK, 38)
_DEAL: Final = (
    _plain("deal_value", Kind.MONEY, 15),
    _plain("currency", Kind.TEXT, 10),
    _plain("deal_value_reported", Kind.MONEY, 15),
    _plain("reported_currency", Kind.TEXT, 12),
)
_CONTACT: Final = (
    _plain("contact_name", Kind.TEXT, 24, personal=True),
    _plain("contact_email", Kind.TEXT, 30, personal=True),
    _plain("contact_phone", Kind.TEXT, 20, personal=True),
)
_PLACE: Final = (
    Column("country", Kind.TEXT, 16, lambda row, words: words.say.country(row.country) if row.country else None),
    _plain("city", Kind.TEXT, 16),
)
_DATES: Final = (_plain("created_at", Kind.INSTANT, 18), _plain("updated_at", Kind.INSTANT, 18))
_QUALIFICATION: Final = Column(
    "qualification", Kind.TEXT, 22, lambda row, words: words.known("qualification", row.qualification)
)

_SUGGESTED: Final = (
    _plain("suggested_name", Kind.TEXT, 30),
    _plain("suggested_domain", Kind.TEXT, 26),
    _plain("suggested_similarity", Kind.WHOLE, 10),
    _plain("suggested_count", Kind.WHOLE, 12),
    _plain("suggested_group", Kind.TEXT, 12),
)

_LEADS: Final = (
    _plain("rank", Kind.WHOLE, 7),
    _NAME, _DOMAIN, _SEGMENT, _CATEGORY, _LABEL, _ACT, *_DECISION,
    _plain("score", Kind.WHOLE, 8),
    _DUE, _NOTE, _WHY, _PROVIDER,
    _plain("gateway", Kind.TEXT, 16),
    *_DEAL,
    _plain("open_referrals", Kind.WHOLE, 10),
    Column("open_cosell", Kind.TEXT, 10, lambda row, words: words.yes_no(row.open_cosell)),
    _SOURCE, _QUALIFICATION, _STATUS, *_PLACE, *_CONTACT,
    _plain("readiness", Kind.WHOLE, 10),
    _plain("tenant", Kind.TEXT, 26),
    *_SUGGESTED, *_DECIDED, *_DATES, _REFERRAL,
)  # fmt: skip

_DUE_FIRST: Final = (
    _plain("hours_left", Kind.HOURS, 10),
    _DUE, _NAME, _DOMAIN, _SEGMENT, _CATEGORY, _ACT, *_DECISION,
    _plain("score", Kind.WHOLE, 8),
    _NOTE, _WHY, _PROVIDER, *_DEAL, _SOURCE, _QUALIFICATION, _STATUS, *_PLACE, *_CONTACT, *_DECIDED, _REFERRAL,
)  # fmt: skip

_WITHOUT_COMPANY: Final = (
    _plain("rank", Kind.WHOLE, 7),
    _NAME, _DOMAIN, *_DECISION, _DUE, _NOTE,
    Column("domain_reason", Kind.TEXT, 34, lambda row, words: words.domain_reason(row)),
    *_SUGGESTED,
    _SEGMENT,
    _plain("score", Kind.WHOLE, 8),
    _WHY,
    *_DEAL, _SOURCE, _QUALIFICATION, _STATUS, *_PLACE,
    _plain("tenant", Kind.TEXT, 26),
    *_CONTACT, *_DECIDED, *_DATES, _REFERRAL,
)  # fmt: skip


def _segment(name: str) -> Callable[[ChangeRow, Words], Value]:
    return lambda row, words: words.known("segment", getattr(row, name))


_NEW_AND_MOVED: Final = (
    Column("change", Kind.TEXT, 18, lambda row, words: words.text(f"change.{row.kind}")),
    _plain("changed_at", Kind.INSTANT, 18, "at"),
    _NAME, _DOMAIN,
    Column("segment_before", Kind.SEGMENT, 14, _segment("segment_before")),
    Column("segment_after", Kind.SEGMENT, 14, _segment("segment_after")),
    _plain("score_before", Kind.WHOLE, 10),
    _plain("score_after", Kind.WHOLE, 10),
    Column("cause", Kind.TEXT, 28, lambda row, words: words.known("cause", row.cause)),
    _DUE, _REFERRAL,
)  # fmt: skip

_COLUMNS: Final = {
    ListName.DUE_FIRST: _DUE_FIRST,
    ListName.LEADS: _LEADS,
    ListName.WITHOUT_COMPANY: _WITHOUT_COMPANY,
    ListName.NEW_AND_MOVED: _NEW_AND_MOVED,
}


@dataclass(frozen=True, slots=True)
class Listing:
    """A list to write: its name, and its rows in order, read while they are written."""

    name: ListName
    rows: Iterable[LeadRow | ChangeRow]


def columns_of(name: ListName, about: About) -> tuple[Column, ...]:
    """Return the columns of a list. Those with personal data are there only where the report has contacts."""
    return tuple(column for column in _COLUMNS[name] if about.with_contacts or not column.personal)
