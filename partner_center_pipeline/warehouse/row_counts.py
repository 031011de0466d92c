"""Looks at the warehouse as a whole."""

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
"""The tables that hold what referrals brought, bookkeeping left out, in flow order."""


def row_counts(connection: Connection) -> dict[str, int]:
    """Rows of each content table, by name."""
    return {table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in CONTENT}
