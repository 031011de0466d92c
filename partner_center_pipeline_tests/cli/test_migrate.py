"""`partner-center migrate` on SQLite and on PostgreSQL."""

from pathlib import Path

from sqlalchemy import create_engine, text

from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.cli.conftest import Home


def test_it_makes_the_tables_and_then_has_nothing_to_do(home: Path, database_url: str) -> None:
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=database_url)
    first = place.invoke("migrate")
    assert first.exit_code == 0, first.output
    assert first.stdout.strip().endswith("is up to date now.")
    assert Warehouse(database_url).is_current()
    second = place.invoke("migrate")
    assert second.exit_code == 0
    assert second.stdout.strip().endswith("is up to date.")


def test_tables_of_other_origin_are_refused_by_name(home: Path, database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE leads (id INTEGER PRIMARY KEY)"))
    engine.dispose()
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=database_url)
    shown = place.invoke("migrate")
    assert shown.exit_code == 1
    assert "tables that this project did not make: leads" in shown.stderr
    assert "HUNTER_DATABASE_URL" in shown.stderr
