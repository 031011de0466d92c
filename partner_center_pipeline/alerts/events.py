"""Which leads are told of before their deadline. Pure rules. The other events are `scoring.history`'s."""

from datetime import timedelta
from typing import Final

from partner_center_pipeline.reports.model import SOON_HOURS, LeadRow
from partner_center_pipeline.scoring.history import TOLD_CATEGORIES

SOON: Final = timedelta(hours=SOON_HOURS)
"""A deadline this near is told."""


def is_good(row: LeadRow) -> bool:
    """Say whether a lead is told of: in P1 or P2, a co-sell opportunity, or qualified for sales by Microsoft."""
    return (
        row.category in TOLD_CATEGORIES
        or row.referral_category == "co-sell"
        or (row.qualification or "").lower() == "salesqualified"
    )


def is_near(row: LeadRow) -> bool:
    """Say whether the deadline of a row of `due_first` is within SOON."""
    return row.hours_left is not None and 0 < row.hours_left <= SOON_HOURS
