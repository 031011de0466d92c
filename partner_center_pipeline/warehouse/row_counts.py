"""Counts the rows of the warehouse's content tables."""

from typing import Final

from sqlalchemy import Connection, func, select

from partner_center_pipeline.warehouse.schema import (
    companies,
    company_scores,
    domain_signals,
    leads,
    quarantined_referrals,
    raw_referrals,
    score_changes,
    signal_changes,
    suggested_matches,
)

CONTENT: Final = (
    raw_referrals,
    quarantined_referrals,
    leads,
    companies,
    suggested_matches,
    domain_signals,
    signal_changes,
    company_scores,
    score_changes,
)
"""The tables with data of referrals and companies, in flow order; without tables about runs and windows."""


def row_counts(connection: Connection) -> dict[str, int]:
    """Return the number of rows of each content table, by name."""
    return {table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in CONTENT}
