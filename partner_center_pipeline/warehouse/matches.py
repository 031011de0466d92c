"""Table suggested_matches: reads the rows to be compared with each other, and replaces stored suggestions.

A person decides about a suggestion; the program never merges rows because of it. Not here: when two names match
(`leads.suggestions`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, or_, select

from partner_center_pipeline.warehouse.bulk import among, upsert
from partner_center_pipeline.warehouse.schema import companies, leads, row_dict, suggested_matches

BLOCK_LIMIT: Final = 1000
"""How many names of one block are compared at most, the most recently updated first. A block of thousands of names is a
common word, and its suggestions would be useless."""

Row = Mapping[str, Any]
Key = tuple[str, str, str]
"""The kind of a suggestion, its subject (a company's domain, or the id of a referral), and the domain suggested."""
_COMPANY: Final = (
    companies.c.domain, companies.c.domain_ascii_key, companies.c.name_key, companies.c.country,
)  # fmt: skip
_LEAD: Final = (leads.c.referral_id, leads.c.domain, leads.c.company_name_key, leads.c.country)


def companies_of(connection: Connection, domains: Sequence[str]) -> list[Row]:
    """Return the companies of these domains, with the columns that are compared."""
    return _rows(connection, select(*_COMPANY).where(among(companies.c.domain, domains), companies.c.referrals > 0))


def leads_of(connection: Connection, referral_ids: Sequence[str]) -> list[Row]:
    """Return those of these leads that did not vanish, with the columns that are compared."""
    shown = and_(among(leads.c.referral_id, referral_ids), leads.c.vanished_at.is_(None))
    return _rows(connection, select(*_LEAD).where(shown).order_by(leads.c.referral_id))


def companies_near(connection: Connection, blocks: Sequence[str], ascii_keys: Sequence[str]) -> list[Row]:
    """Return the companies with a name in one of the blocks, or a domain with one of these ASCII keys."""
    same_key = select(companies.c.domain).where(among(companies.c.domain_ascii_key, ascii_keys))
    return _rows(
        connection,
        select(*_COMPANY).where(
            companies.c.referrals > 0,
            or_(
                companies.c.domain.in_(same_key),
                companies.c.domain.in_(_keys_in(companies.c.domain, companies.c.name_block, blocks)),
            ),
        ),
    )


def leads_near(connection: Connection, blocks: Sequence[str]) -> list[Row]:
    """Return the leads without a domain that have a company name in one of the blocks, and did not vanish."""
    eligible = and_(leads.c.domain.is_(None), leads.c.vanished_at.is_(None))
    ids = _keys_in(leads.c.referral_id, leads.c.company_name_block, blocks, eligible)
    return _rows(connection, select(*_LEAD).where(leads.c.referral_id.in_(ids)))


def _keys_in(
    key: ColumnElement[str], block: ColumnElement[str | None], blocks: Sequence[str], *more: ColumnElement[bool]
) -> Select[str]:
    """Select the keys of up to BLOCK_LIMIT rows of each block."""
    table = key.table
    place = func.row_number().over(partition_by=block, order_by=(table.c.updated_ticks.desc(), key))
    ranked = select(key.label("key"), place.label("place")).where(among(block, blocks), *more).subquery()
    return select(ranked.c.key).where(ranked.c.place <= BLOCK_LIMIT)


def _rows(connection: Connection, query: Select[Any]) -> list[Row]:
    return [row_dict(row) for row in connection.execute(query)]


def replace_of_companies(
    connection: Connection, domains: Sequence[str], found: Sequence[Row], now: datetime
) -> list[Key]:
    """Replace all suggestions about these companies by `found`. Return the keys of the new ones."""
    concerned = or_(
        among(suggested_matches.c.domain, domains),
        and_(suggested_matches.c.kind == "company", among(suggested_matches.c.subject, domains)),
    )
    return _replace(connection, concerned, found, now)


def replace_of_leads(
    connection: Connection, referral_ids: Sequence[str], found: Sequence[Row], now: datetime
) -> list[Key]:
    """Replace all suggestions about these leads by `found`. Return the keys of the new ones."""
    concerned = and_(suggested_matches.c.kind == "lead", among(suggested_matches.c.subject, referral_ids))
    return _replace(connection, concerned, found, now)


def _replace(connection: Connection, concerned: ColumnElement[bool], found: Sequence[Row], now: datetime) -> list[Key]:
    stored = {_key(row): row for row in _rows(connection, select(suggested_matches).where(concerned))}
    wanted = {_key(row): row for row in found}
    for kind, subject, domain in sorted(stored.keys() - wanted.keys()):
        connection.execute(
            delete(suggested_matches).where(
                suggested_matches.c.kind == kind,
                suggested_matches.c.subject == subject,
                suggested_matches.c.domain == domain,
            )
        )
    changed = [
        {**row, "suggested_at": stored[key]["suggested_at"] if key in stored else now}
        for key, row in sorted(wanted.items())
        if key not in stored or any(stored[key][name] != row[name] for name in ("reason", "similarity", "group_id"))
    ]
    upsert(connection, suggested_matches, changed)
    return sorted(wanted.keys() - stored.keys())


def _key(row: Row) -> Key:
    return row["kind"], row["subject"], row["domain"]
