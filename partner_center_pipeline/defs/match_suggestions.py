"""Suggesting matches for companies and leads that changed: the last part of the asset companies.

Not here: what makes two names alike (`leads.suggestions`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection

from partner_center_pipeline.leads.suggestions import Candidate, MatchKind, Suggestion, name_block, suggest
from partner_center_pipeline.warehouse import decisions, matches

Row = Mapping[str, Any]
_COLUMNS: Final = tuple(one.name for one in fields(Suggestion))
_values: Final = attrgetter(*_COLUMNS)


def suggest_for_companies(connection: Connection, domains: Sequence[str], now: datetime) -> list[matches.Key]:
    """Replace the suggestions for these companies; return the keys of the new ones.

    Both sides of a pair are looked at when they change, so the order in which windows run does not matter.
    """
    subjects = [_of_company(row) for row in matches.companies_of(connection, domains)]
    companies, blocks = _companies_near(connection, subjects)
    found = suggest(subjects, companies + [_of_lead(row) for row in matches.leads_near(connection, blocks)])
    return matches.replace_of_companies(connection, domains, _rows(connection, found), now)


def suggest_for_leads(connection: Connection, referral_ids: Sequence[str], now: datetime) -> list[matches.Key]:
    """Replace the suggestions for these leads, where they have no domain; return the keys of the new ones."""
    rows = matches.leads_of(connection, referral_ids)
    subjects = [_of_lead(row) for row in rows if row["domain"] is None]
    found = suggest(subjects, _companies_near(connection, subjects)[0])  # two leads never match
    return matches.replace_of_leads(connection, referral_ids, _rows(connection, found), now)


def _companies_near(connection: Connection, subjects: Sequence[Candidate]) -> tuple[list[Candidate], list[str]]:
    """Return the companies that the subjects are to be compared with, and the blocks of the subjects' names."""
    blocks = sorted({block for one in subjects if (block := name_block(one.name_key)) is not None})
    keys = sorted({one.domain_ascii_key for one in subjects if one.domain_ascii_key is not None})
    return [_of_company(row) for row in matches.companies_near(connection, blocks, keys)], blocks


def _of_company(row: Row) -> Candidate:
    return Candidate(MatchKind.COMPANY, row["domain"], row["domain_ascii_key"], row["name_key"], row["country"])


def _of_lead(row: Row) -> Candidate:
    return Candidate(MatchKind.LEAD, row["referral_id"], None, row["company_name_key"], row["country"])


def _rows(connection: Connection, found: Sequence[Suggestion]) -> list[Row]:
    """Return the suggestions as rows, without those that a person rejected."""
    if not found:
        return []
    rejected = decisions.rejected(connection)
    rows = [dict(zip(_COLUMNS, _values(one), strict=True)) for one in found]
    return [row for row in rows if (f"{row['kind']}_match", row["subject"], row["domain"]) not in rejected]
