"""What a database says about a refused row stays out of errors: it quotes the row, and rows hold personal data."""

import traceback
from typing import Any

import pytest
from sqlalchemy import text

from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.schema import leads

PERSON = {"contact_name": "Deniz Örnek", "contact_email": "deniz@ornek.com.tr", "contact_phone": "+90 555 000 00 00"}
INCOMPLETE: dict[str, Any] = {"referral_id": "r1", "source": None, **PERSON}


def told(error: BaseException) -> str:
    """All that a log would hold of an error, its causes included."""
    return "".join(traceback.format_exception(error))


def test_a_refused_row_is_not_quoted(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="refused a statement") as caught, warehouse.write() as connection:
        upsert(connection, leads, [INCOMPLETE])
    for value in PERSON.values():
        assert value not in told(caught.value)


def test_a_value_that_does_not_fit_its_column_is_not_quoted(warehouse: Warehouse) -> None:
    statement = text("SELECT CAST(:value AS integer) / 0 FROM no_such_table")
    with pytest.raises(WarehouseError, match="refused a statement") as caught, warehouse.read() as connection:
        connection.execute(statement, {"value": PERSON["contact_email"]})
    assert PERSON["contact_email"] not in told(caught.value)
