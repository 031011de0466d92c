"""The order of a sales list (scoring.md, section 6). Not here: anything a score or category follows from."""

from decimal import Decimal
from math import isnan
from typing import Final

RANK_ORDER: Final = (("category", True), ("score", False), ("hours_to_expiry", True), ("deal_value", False))
"""(column, ascending) from the first to the last; in each, what has no value comes last. Pending, which has no
category, therefore ends the list. As pandas' arguments:
`sort_values([c for c, _ in RANK_ORDER], ascending=[a for _, a in RANK_ORDER], na_position="last")`."""

RankKey = tuple[tuple[bool, str], tuple[bool, float], tuple[bool, float], tuple[bool, Decimal | float]]


def rank_key(
    category: str | None,
    score: int | None,
    hours_to_expiry: float | None,
    deal_value: Decimal | float | None,
) -> RankKey:
    """The sort key of a row of a sales list, in RANK_ORDER: `sorted(rows, key=lambda row: rank_key(...))`.

    `hours_to_expiry` is that of the referral whose deadline is next; give None for a deadline that has passed, which
    presses nobody. NaN counts as None.
    """
    return (
        (category is None, category or ""),
        (score is None, -(score or 0)),
        _ascending(hours_to_expiry),
        _descending(deal_value),
    )


def _ascending(value: float | None) -> tuple[bool, float]:
    return (True, 0) if value is None or isnan(value) else (False, value)


def _descending(value: Decimal | float | None) -> tuple[bool, Decimal | float]:
    return (True, 0) if value is None or isnan(value) else (False, -value)
