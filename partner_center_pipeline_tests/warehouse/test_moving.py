"""The rules by which a warehouse is moved to PostgreSQL: chunks, and one form of a row for both databases."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import insert
from sqlalchemy.types import Boolean, Integer, Text

from partner_center_pipeline.warehouse import moving, schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.schema import metadata

SUM = "da5752a54613306800582bcb4b60db2b2f00fe4175cb0e5a4022711572dc9f7f"


def test_chunks_are_bounded_by_rows_and_by_their_size() -> None:
    rows = [{"id": number, "text": "x" * length} for number, length in enumerate([1, 1, 1, 1, 9, 20, 3])]
    found = [[row["id"] for row in chunk] for chunk in moving.chunked(rows, 3, 10)]
    assert found == [[0, 1, 2], [3, 4], [5], [6]]


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ('{"b":1,"a":[1.0,1e5]}', '{"a": [1.0, 100000], "b": 1}'),
        ('{"n":1e22,"m":-0.0}', '{"m": -0.0, "n": 10000000000000000000000}'),
        ('{"n":1e-7}', '{"n": 0.0000001}'),
        ('{"n":1e+23}', '{"n": 100000000000000000000000}'),
        ('{"n":1.8446744073709552e+19}', '{"n": 18446744073709552000}'),
        ('{"n":1.7976931348623157e+308}', '{"n": 17976931348623157' + 292 * "0" + "}"),
        ('"\u015f"', '"ş"'),
        ("null", "null"),
    ],
)
def test_json_has_one_form_however_a_database_prints_it(written: str, printed: str) -> None:
    row = dict.fromkeys(schema.columns_of(schema.erasures), None)
    forms = {moving.canonical(schema.erasures, {**row, "rows_emptied": each}) for each in (written, printed)}
    assert len(forms) == 1
    assert forms != {moving.canonical(schema.erasures, row)}


def test_rows_that_differ_in_one_value_have_another_form() -> None:
    row = {
        "currency": "EUR",
        "rate": Decimal("0.0237654321987"),
        "reporting_currency": "TRY",
        "rates_date": "2026-11-28",
    }
    form = moving.canonical(schema.currency_rates, row)
    assert form == moving.canonical(schema.currency_rates, {**row, "rate": Decimal("0.02376543220")})
    for changed in ({"rate": Decimal("0.0237654323")}, {"currency": ""}, {"rates_date": None}):
        assert moving.canonical(schema.currency_rates, {**row, **changed}) != form


def test_each_key_can_be_kept_as_json_so_that_a_move_goes_on_behind_it() -> None:
    for table in metadata.sorted_tables:
        for key in table.primary_key:
            assert isinstance(key.type, Text | Integer | Boolean), f"{key} is of another type"


def test_a_table_has_the_same_sum_on_both_databases_until_a_row_changes(warehouse: Warehouse) -> None:
    row = {"name": "ğ", "failures": 3, "reason": None, "open_until": datetime(2026, 11, 28, 1, 2, 3, 4, tzinfo=UTC)}
    with warehouse.write() as connection:
        connection.execute(insert(schema.breakers), [row, {**row, "name": "a"}])
        found = moving.summed(connection, schema.breakers)
        assert found == moving.Sum(2, SUM)
        connection.execute(schema.breakers.update().where(schema.breakers.c.name == "a").values(failures=4))
        assert moving.summed(connection, schema.breakers).checksum != SUM
