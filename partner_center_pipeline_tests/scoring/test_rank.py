"""The order of a sales list (scoring.md, section 6)."""

from decimal import Decimal
from math import nan

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_center_pipeline.scoring import RANK_ORDER, Category, rank_key

Row = tuple[Category | None, int | None, float | None, Decimal | float | None]

IN_ORDER: list[Row] = [
    (Category.P1, 50, 5.0, 1000),
    (Category.P1, 5, 1.0, 10),
    (Category.P2, 90, 2.0, None),
    (Category.P2, 90, 30.0, Decimal("200.50")),
    (Category.P2, 90, 30.0, 100),
    (Category.P2, 90, 30.0, None),
    (Category.P2, 90, None, 1_000_000),
    (Category.P6, 0, 0.0, 0),
    (Category.P6, 0, 0.0, nan),
    (Category.P6, 0, nan, 0),
    (Category.P6, 0, None, None),
    (None, None, 3.0, 5000),
    (None, None, 4.0, 9000),
]

rows = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(Category),
            st.integers(0, 100),
            st.none() | st.floats(0, 1e4),
            st.none() | st.floats(0, 1e9),
        ),
        st.tuples(st.none(), st.none(), st.none() | st.floats(0, 1e4), st.none() | st.floats(0, 1e9)),
    ),
    min_size=1,
    max_size=20,
)


def test_a_list_goes_by_category_then_score_then_expiry_then_value_and_pending_ends_it() -> None:
    backwards = IN_ORDER[::-1]
    assert sorted(backwards, key=lambda row: rank_key(*row)) == IN_ORDER


@settings(deadline=None)
@given(rows)
def test_pandas_sorts_by_rank_order_as_the_key_does(unsorted: list[Row]) -> None:
    columns = [column for column, _ in RANK_ORDER]
    by_key = sorted(range(len(unsorted)), key=lambda at: rank_key(*unsorted[at]))
    by_pandas = pd.DataFrame(unsorted, columns=columns).sort_values(
        columns, ascending=[ascending for _, ascending in RANK_ORDER], na_position="last", kind="stable"
    )
    assert list(by_pandas.index) == by_key
