"""What the report reads: the lists row by row, what changed since an instant, and the figures of all referrals.

Not here: what is done with it (`reports`), the lists themselves (`views`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, and_, func, or_, select

from partner_center_pipeline.warehouse import first_page
from partner_center_pipeline.warehouse.bulk import CHUNK, among, chunks
from partner_center_pipeline.warehouse.schema import (
    companies,
    company_scores,
    leads,
    raw_referrals,
    row_dict,
    score_changes,
    signal_changes,
)
from partner_center_pipeline.windows import TICKS_PER_SECOND, ticks_of

Row = Mapping[str, Any]

CONTACTS: Final = ("contact_name", "contact_email", "contact_phone")
"""The columns with personal data."""

_FETCHED: Final = 2_000
"""Rows fetched at a time while a list is read."""


def begin_snapshot(connection: Connection) -> None:
    """Let all that follows on a connection see one state of the database. Call it before any other statement."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def has_leads(connection: Connection) -> bool:
    """Return whether the warehouse holds a lead."""
    return connection.execute(select(leads.c.referral_id).limit(1)).first() is not None


def list_rows(connection: Connection, view: Table, *, with_contacts: bool) -> Iterator[Row]:
    """Yield the rows of a list in its order, some thousand in memory at a time; contacts are read only if wanted."""
    columns = [column for column in view.columns if with_contacts or column.name not in CONTACTS]
    yield from _streamed(connection, select(*columns).order_by(view.c.rank))


def rows_of(connection: Connection, view: Table, key: str, values: Collection[str]) -> Iterator[Row]:
    """Yield the rows of a list in which column `key` has one of these values, without contacts."""
    if not values:
        return
    columns = [column for column in view.columns if column.name not in CONTACTS]
    query = select(*columns)
    if len(values) <= CHUNK:
        yield from _streamed(connection, query.where(view.c[key].in_(values)))
        return
    # A list is computed as a whole whatever part of it is asked for, so it is read once.
    yield from (row for row in _streamed(connection, query) if row[key] in values)


def near_rows(connection: Connection, within: timedelta) -> list[Row]:
    """Return of each lead whose deadline is at most so far away what says whether it is urgent."""
    names = (
        "rank", "referral_id", "category", "referral_category", "qualification", "response_due", "hours_left",
        "is_set_aside",
    )  # fmt: skip
    return first_page.due_within(connection, int(within.total_seconds()) * TICKS_PER_SECOND, names)


def new_leads(connection: Connection, since: datetime) -> Iterator[Row]:
    """Yield the open leads whose first version was stored after `since`, with their company's segment and score."""
    stored = (
        select(raw_referrals.c.referral_id, func.min(raw_referrals.c.fetched_at).label("at"))
        .group_by(raw_referrals.c.referral_id)
        .having(func.min(raw_referrals.c.fetched_at) > since)
        .subquery()
    )
    yield from _streamed(
        connection,
        select(
            stored.c.at,
            leads.c.referral_id,
            leads.c.expires_ticks,
            companies.c.domain,
            companies.c.domain_unicode,
            func.coalesce(companies.c.name, leads.c.company_name).label("company_name"),
            company_scores.c.segment,
            company_scores.c.score,
        )
        .join(leads, leads.c.referral_id == stored.c.referral_id)
        .outerjoin(companies, companies.c.domain == leads.c.domain)
        .outerjoin(company_scores, company_scores.c.domain == companies.c.domain)
        .where(leads.c.is_open, leads.c.vanished_at.is_(None)),
    )


def moved_companies(connection: Connection, since: datetime) -> Iterator[Row]:
    """Yield the companies whose score or segment changed after `since`: before the first change, after the last."""
    span = (
        select(
            score_changes.c.domain,
            func.min(score_changes.c.id).label("first"),
            func.max(score_changes.c.id).label("last"),
        )
        .where(score_changes.c.changed_at > since)
        .group_by(score_changes.c.domain)
        .subquery()
    )
    first, last = score_changes.alias("first_change"), score_changes.alias("last_change")
    yield from _streamed(
        connection,
        select(
            companies.c.domain,
            companies.c.domain_unicode,
            companies.c.name.label("company_name"),
            companies.c.open_referrals,
            first.c.segment_before,
            first.c.score_before,
            last.c.segment_after,
            last.c.score_after,
            last.c.cause,
            last.c.changed_at.label("at"),
        )
        .join(span, span.c.domain == companies.c.domain)
        .join(first, first.c.id == span.c.first)
        .join(last, last.c.id == span.c.last),
    )


def expired_leads(connection: Connection, since: datetime, until: datetime) -> Iterator[Row]:
    """Yield the open leads whose response deadline passed after `since`, and not after `until`."""
    yield from _streamed(
        connection,
        select(
            leads.c.referral_id,
            leads.c.expires_ticks,
            companies.c.domain,
            companies.c.domain_unicode,
            func.coalesce(companies.c.name, leads.c.company_name).label("company_name"),
            company_scores.c.segment,
            company_scores.c.score,
        )
        .outerjoin(companies, companies.c.domain == leads.c.domain)
        .outerjoin(company_scores, company_scores.c.domain == companies.c.domain)
        .where(
            leads.c.is_open,
            leads.c.vanished_at.is_(None),
            leads.c.expires_ticks > ticks_of(since),
            leads.c.expires_ticks <= ticks_of(until),
        ),
    )


def created_days(connection: Connection) -> list[tuple[str, int]]:
    """Return how many leads were created on each day (the first ten characters of createdDateTime), in order."""
    day = func.substr(leads.c.created_text, 1, 10)
    query = select(day, func.count()).where(leads.c.created_text.is_not(None), leads.c.vanished_at.is_(None))
    return [(text, count) for text, count in connection.execute(query.group_by(day).order_by(day))]


def answer_times(connection: Connection) -> Iterator[Row]:
    """Yield when each lead that somebody else sent was created and accepted (as the API printed it), and if it is open.

    A lead that the partner sent itself is accepted from the beginning, and is left out.
    """
    this_version = and_(raw_referrals.c.referral_id == leads.c.referral_id, raw_referrals.c.version == leads.c.version)
    yield from _streamed(
        connection,
        select(
            leads.c.created_text,
            raw_referrals.c.payload["acceptedDateTime"].as_string().label("accepted_text"),
            leads.c.is_open,
        )
        .join(raw_referrals, this_version)
        .where(
            leads.c.created_text.is_not(None),
            leads.c.vanished_at.is_(None),
            or_(leads.c.direction.is_(None), leads.c.direction != "Outgoing"),
        ),
    )


def histories(connection: Connection, domains: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yield what a card shows of these companies, as (`referral`, `score` or `mail`, row), the newest first of each.

    Contacts and free texts are not read.
    """
    referral_columns = [
        leads.c[name]
        for name in (
            "domain", "referral_id", "category", "qualification", "status", "substatus", "is_open", "deal_value",
            "currency", "expires_ticks", "updated_ticks",
        )
    ]  # fmt: skip
    for chunk in chunks(domains):
        referrals = (
            select(*referral_columns)
            .where(among(leads.c.domain, chunk), leads.c.vanished_at.is_(None))
            .order_by(leads.c.updated_ticks.desc(), leads.c.referral_id)
        )
        yield from (("referral", row) for row in _streamed(connection, referrals))
        for kind, table in (("score", score_changes), ("mail", signal_changes)):
            query = select(table).where(among(table.c.domain, chunk))
            ordered = query.order_by(table.c.changed_at.desc(), table.c.id.desc())
            yield from ((kind, row) for row in _streamed(connection, ordered))


def _streamed(connection: Connection, query: Select[Any]) -> Iterator[Row]:
    for row in connection.execute(query, execution_options={"yield_per": _FETCHED}):
        yield row_dict(row)
