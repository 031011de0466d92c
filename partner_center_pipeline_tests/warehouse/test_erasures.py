"""What is asked when rows come in, and how long an act of erasing is kept."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event, func, select

from partner_center_pipeline.warehouse import erasures, referrals, schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.warehouse.pages import make_version

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_acts_of_erasing_are_forgotten_after_three_years_and_the_tombstones_stay(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        for years in (0, 2, 4):
            values = {
                "erased_by": "x",
                "person": "p",
                "rows_emptied": {},
                "erased_at": NOW - timedelta(days=365 * years),
            }
            connection.execute(schema.erasures.insert().values(values))
        connection.execute(schema.tombstones.insert().values(person="p", digest="d", kind="email"))
    assert erasures.prune_personal_data(warehouse, NOW)["acts_of_erasing_forgotten"] == 1
    with warehouse.read() as connection:
        assert connection.execute(select(func.count()).select_from(schema.erasures)).scalar_one() == 2
        assert connection.execute(select(func.count()).select_from(schema.tombstones)).scalar_one() == 1


def test_as_long_as_nobody_was_erased_a_page_costs_one_question_however_many_rows_it_has(warehouse: Warehouse) -> None:
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(warehouse.engine, "before_cursor_execute", note)
    counts = []
    for first, rows in ((0, 1), (1, 200)):
        asked.clear()
        placed = [referrals.Placed(make_version(f"r{n}", n), 0, late=False) for n in range(first, first + rows)]
        with warehouse.write() as connection:
            referrals.store(connection, placed, NOW)
        counts.append(len(asked))
    assert counts[0] == counts[1]
    assert sum("erasure_key" in statement for statement in asked) == 1
    assert not any("tombstones" in statement for statement in asked)
