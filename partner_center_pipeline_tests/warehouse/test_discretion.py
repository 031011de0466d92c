"""What a database says about a refused row stays out of errors: it quotes the row, and rows hold personal data."""

import traceback
from typing import Any

import pytest
from sqlalchemy import text

from partner_center_pipeline.warehouse.bulk import upsert
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.schema import leads
from partner_center_pipeline_tests.conftest import PostgresServer

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


@pytest.mark.postgres
def test_a_value_that_does_not_fit_its_column_is_not_quoted(postgres: PostgresServer) -> None:
    """PostgreSQL quotes such a value in the first line of its message, and in the context of a COPY."""
    warehouse = Warehouse.open(postgres.migrated())
    for statement in (
        lambda connection: connection.execute(text("SELECT CAST(:it AS integer)"), {"it": PERSON["contact_email"]}),
        lambda connection: upsert(connection, leads, [{**INCOMPLETE, "updated_ticks": PERSON["contact_email"]}]),
    ):
        with pytest.raises(WarehouseError, match="22P02") as caught, warehouse.write() as connection:
            statement(connection)
        assert PERSON["contact_email"] not in told(caught.value)
    warehouse.close()


def test_what_is_wrong_is_said_all_the_same(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match=r"source.*; nothing of its transaction was kept"), warehouse.write() as c:
        upsert(c, leads, [INCOMPLETE])


@pytest.mark.parametrize("word", ["password", "sslpassword"])
def test_a_password_among_the_words_of_an_address_is_not_shown(word: str) -> None:
    """Where libpq takes it, too: behind the question mark."""
    warehouse = Warehouse(f"postgresql+psycopg://u:one@127.0.0.1:1/none?{word}=verysecret&connect_timeout=2")
    assert warehouse.shown == "postgresql+psycopg://u:***@127.0.0.1:1/none?connect_timeout=2"
    with pytest.raises(WarehouseError, match="cannot be used") as caught:
        warehouse.is_current()
    assert "verysecret" not in told(caught.value)
