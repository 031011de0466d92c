"""What a connection to PostgreSQL says of itself: settings of the server, a role or the shell change no value."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import make_url, select

from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.warehouse.bulk import insert_absent
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.conftest import PostgresServer

pytestmark = pytest.mark.postgres

AT = datetime(2026, 11, 28, 1, 2, 3, 4, tzinfo=UTC)
ROW = {"name": "ğ", "failures": 3, "opened_at": None, "reason": "Şişli", "open_until": AT}


@pytest.mark.parametrize(
    "setting",
    ["datestyle = 'German, DMY'", "extra_float_digits = 0", "timezone = 'Europe/Istanbul'"],
)
def test_settings_of_the_server_change_no_value(postgres: PostgresServer, setting: str) -> None:
    url = postgres.migrated()
    postgres.run(f"ALTER DATABASE {make_url(url).database} SET {setting}")
    keeps_values(url)


@pytest.mark.parametrize("encoding", ["LATIN5", "SQL_ASCII", "UTF8"])
def test_the_encoding_of_the_shell_changes_no_value(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    keeps_values(postgres.migrated(), name="\U0001f3e2 ğ 会社")


def keeps_values(url: str, name: str = "ğ") -> None:
    """Write and read a time, a fraction, and a text that not every encoding has."""
    warehouse = Warehouse.open(url)
    row = {**ROW, "name": name}
    attempt = {
        column.name: None if column.nullable else 0
        for column in schema.sync_attempts.columns
        if column is not schema.sync_attempts.autoincrement_column
    } | {"run_id": "r", "started_at": AT, "state": "done", "seconds_waited": 0.1 + 0.2}
    with warehouse.write() as connection:
        insert_absent(connection, schema.breakers, [row])
        connection.execute(schema.sync_attempts.insert().values(attempt))
    with warehouse.read() as connection:
        assert connection.execute(select(schema.breakers)).one()._asdict() == row
        assert connection.execute(select(schema.sync_attempts.c.seconds_waited)).scalar_one() == 0.1 + 0.2
        assert connection.execute(select(schema.sync_attempts.c.started_at)).scalar_one() == AT
    warehouse.close()
