"""All rows about one domain, read together: what `partner-center inspect` shows.

The contacts' names, e-mail addresses and telephone numbers, and the free texts that may hold them, are not read at all.
Not here: what the rows mean, and how they are printed (`cli.inspect_domain`, `cli.inspect_page`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, case, exists, func, or_, select

from partner_center_pipeline.vocabulary import ASSET_OF_TASK, Asset, Task
from partner_center_pipeline.warehouse.schema import (
    companies,
    company_scores,
    decisions,
    domain_signals,
    leads,
    pending_work,
    raw_referrals,
    row_dict,
    score_changes,
    signal_changes,
    suggested_matches,
    sync_windows,
)
from partner_center_pipeline.warehouse.views import leads_ready

Row = Mapping[str, Any]

REFERRAL_COLUMNS: Final = (
    "referral_id", "engagement_id", "category", "category_rule", "type", "qualification", "direction", "status",
    "substatus", "is_open", "company_name", "host", "domain_source", "former_domains", "tenant", "tenant_source",
    "deal_value", "currency", "products", "created_text", "updated_ticks", "updated_text", "expires_text",
    "expires_ticks", "closed_text", "vanished_at",
)  # fmt: skip
"""The columns of `leads` that are read: those that hold no personal data and no free text."""


LISTED_COLUMNS: Final = (
    "rank", "referral_id", "reasons", "response_due", "is_due_live", "due_note", "deal_value_reported",
    "reported_currency", "rate_note", "decision", "decision_until", "decided_at", "decided_by", "is_set_aside",
)  # fmt: skip
"""The columns of `leads_ready` that are read: what the list adds to the tables, without a contact."""


DECISION_COLUMNS: Final = ("kind", "subject", "choice", "domain", "until_ticks", "decided_at", "decided_by")
"""The columns of `decisions` that are read: without the note, a free text."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A window that brought a referral of the company and is not done: its start in ticks, and the next asset."""

    window_start: int
    asset: Asset


@dataclass(frozen=True, slots=True)
class Card:
    """What the warehouse knows about the company of a domain.

    company         its row of `companies`
    listed          LISTED_COLUMNS of its row in `leads_ready`; None where no referral names it
    ranked          of how many rows `leads_ready` is
    score           its row of `company_scores`, None before the first
    signals         its row of `domain_signals`, None before DNS was first asked
    referrals       REFERRAL_COLUMNS of its leads, the newest first, each with the window that fetched this version:
                    `window_start` (ticks), `late`, `fetched_at` (UTC); None where that version is no longer kept
    matches         suggested matches: `kind` (company or lead), `subject` (the other domain, or the referral's id),
                    `name` of it, `reason`, `similarity`, `suggested_at`; the likeliest first
    score_changes   rows of `score_changes`, the newest first
    signal_changes  rows of `signal_changes`, the newest first
    waiting         the windows that are not done, the oldest first
    decisions       DECISION_COLUMNS of what people decided about its leads and matches, the newest first
    """

    company: Row
    listed: Row | None
    ranked: int
    score: Row | None
    signals: Row | None
    referrals: tuple[Row, ...]
    matches: tuple[Row, ...]
    score_changes: tuple[Row, ...]
    signal_changes: tuple[Row, ...]
    waiting: tuple[Waiting, ...]
    decisions: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Absent:
    """The answer for a domain without a company: how many leads name it, and domains with the same ASCII key."""

    leads: int
    alike: tuple[str, ...]


def look_up(connection: Connection, domain: str, ascii_key: str) -> Card | Absent:
    """Return the card of a domain (registrable, punycode), or the domains with the same `ascii_key`.

    All rows are from one snapshot of the database, so `connection` must not have run a query before.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    company = _only(connection, companies, domain)
    if company is None:
        return Absent(
            connection.execute(select(func.count()).where(leads.c.domain == domain)).scalar_one(),
            tuple(
                connection.execute(
                    select(companies.c.domain)
                    .where(companies.c.domain_ascii_key == ascii_key)
                    .order_by(companies.c.domain)
                ).scalars()
            ),
        )
    return Card(
        company=company,
        listed=_listed(connection, domain),
        ranked=_ranked(connection),
        score=_only(connection, company_scores, domain),
        signals=_only(connection, domain_signals, domain),
        referrals=_referrals(connection, domain),
        matches=_matches(connection, domain),
        score_changes=_history(connection, score_changes, domain),
        signal_changes=_history(connection, signal_changes, domain),
        waiting=_waiting(connection, domain),
        decisions=_decisions(connection, domain),
    )


def _only(connection: Connection, table: Table, domain: str) -> Row | None:
    row = connection.execute(select(table).where(table.c.domain == domain)).one_or_none()
    return None if row is None else row_dict(row)


def _listed(connection: Connection, domain: str) -> Row | None:
    columns = [leads_ready.c[name] for name in LISTED_COLUMNS]
    row = connection.execute(select(*columns).where(leads_ready.c.domain == domain)).one_or_none()
    return None if row is None else row_dict(row)


def _ranked(connection: Connection) -> int:
    """Count the rows of the sales list."""
    count: int = connection.execute(
        select(func.count()).select_from(companies).where(companies.c.referrals > 0)
    ).scalar_one()
    return count


def _referrals(connection: Connection, domain: str) -> tuple[Row, ...]:
    fetched = (raw_referrals.c.window_start, raw_referrals.c.late, raw_referrals.c.fetched_at)
    columns = [*(leads.c[name] for name in REFERRAL_COLUMNS), *fetched]
    this_version = and_(raw_referrals.c.referral_id == leads.c.referral_id, raw_referrals.c.version == leads.c.version)
    return _rows(
        connection,
        select(*columns)
        .outerjoin(raw_referrals, this_version)
        .where(leads.c.domain == domain)
        .order_by(leads.c.updated_ticks.desc(), leads.c.version.desc()),
    )


def _matches(connection: Connection, domain: str) -> tuple[Row, ...]:
    """Read the suggestions. A pair of companies is stored once, so the domain may be on either side of it."""
    table = suggested_matches
    of_companies = table.c.kind == "company"
    other = case((and_(of_companies, table.c.subject == domain), table.c.domain), else_=table.c.subject)
    name = func.coalesce(companies.c.name, leads.c.company_name).label("name")
    columns = [table.c.kind, other.label("subject"), name, table.c.reason, table.c.similarity, table.c.suggested_at]
    return _rows(
        connection,
        select(*columns)
        .outerjoin(companies, and_(of_companies, companies.c.domain == other))
        .outerjoin(leads, and_(table.c.kind == "lead", leads.c.referral_id == table.c.subject))
        .where(or_(table.c.domain == domain, and_(of_companies, table.c.subject == domain)))
        .order_by(table.c.similarity.desc(), table.c.kind, other),
    )


def _decisions(connection: Connection, domain: str) -> tuple[Row, ...]:
    table = decisions
    of_leads = table.c.subject.in_(select(leads.c.referral_id).where(leads.c.domain == domain))
    query = select(*(table.c[name] for name in DECISION_COLUMNS))
    return _rows(
        connection,
        query.where(or_(of_leads, table.c.subject == domain, table.c.domain == domain)).order_by(table.c.id.desc()),
    )


def _history(connection: Connection, table: Table, domain: str) -> tuple[Row, ...]:
    newest_first = (table.c.changed_at.desc(), table.c.id.desc())
    return _rows(connection, select(table).where(table.c.domain == domain).order_by(*newest_first))


def _rows(connection: Connection, query: Select[Any]) -> tuple[Row, ...]:
    return tuple(row_dict(row) for row in connection.execute(query))


def _waiting(connection: Connection, domain: str) -> tuple[Waiting, ...]:
    """Return the windows that are not done, or have work pending, with the first asset that has something to do.

    A window of another width counts as well if it covers their start.
    """
    brought = (
        select(raw_referrals.c.window_start)
        .join(leads, leads.c.referral_id == raw_referrals.c.referral_id)
        .where(leads.c.domain == domain)
        .distinct()
        .subquery()
    )

    def is_done(asset: Asset) -> ColumnElement[bool]:
        return exists().where(
            sync_windows.c.covers_from <= brought.c.window_start,
            sync_windows.c.window_end > brought.c.window_start,
            sync_windows.c[f"{asset}_at"].is_not(None),
        )

    rows = connection.execute(
        select(brought.c.window_start, *(is_done(asset).label(asset.value) for asset in Asset)).order_by(
            brought.c.window_start
        )
    )
    undone = {row.window_start: {asset for asset in Asset if not getattr(row, asset)} for row in rows}
    for start, asset in _pending(connection, domain):
        undone.setdefault(start, set()).add(asset)
    return tuple(Waiting(start, min(undone[start], key=list(Asset).index)) for start in sorted(undone) if undone[start])


def _pending(connection: Connection, domain: str) -> list[tuple[int, Asset]]:
    """Return the windows whose rows are still to be derived, and by which asset; a company's own task is its newest."""
    newest = (
        select(leads.c.referral_id, func.max(raw_referrals.c.window_start).label("start"))
        .join(raw_referrals, raw_referrals.c.referral_id == leads.c.referral_id)
        .where(leads.c.domain == domain)
        .group_by(leads.c.referral_id)
        .subquery()
    )
    table = pending_work
    of_leads = and_(table.c.task == Task.LEADS, table.c.item == newest.c.referral_id)
    starts = connection.execute(select(newest.c.start).join(table, of_leads)).scalars().all()
    tasks = connection.execute(select(table.c.task).where(table.c.item == domain, table.c.task != Task.LEADS)).scalars()
    last = connection.execute(select(func.max(newest.c.start))).scalar_one()
    of_company = [(last, ASSET_OF_TASK[Task(task)]) for task in tasks] if last is not None else []
    return [*((start, Asset.NORMALIZED_LEADS) for start in starts), *of_company]
