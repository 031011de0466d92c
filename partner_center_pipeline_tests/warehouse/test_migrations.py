"""Migrations: forwards, backwards, without drift, and never over tables of other origin."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from alembic import command
from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline.warehouse import outbox
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.schema import VERSION_TABLE, metadata
from partner_center_pipeline_tests.conftest import Databases, PostgresServer, SqliteFiles


def tables_of(warehouse: Warehouse) -> set[str]:
    with warehouse.read() as connection:
        return set(inspect(connection).get_table_names())


def drift_of(warehouse: Warehouse) -> list[object]:
    with warehouse.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "version_table": VERSION_TABLE, "target_metadata": metadata}
        )
        return list(compare_metadata(context, metadata))


def test_after_the_newest_migration_nothing_differs_from_the_tables(databases: Databases) -> None:
    warehouse = Warehouse(databases.empty())
    assert not warehouse.is_current()
    warehouse.migrate()
    assert warehouse.is_current()
    assert drift_of(warehouse) == []
    assert tables_of(warehouse) == {*metadata.tables, VERSION_TABLE}
    warehouse.close()


def test_a_difference_would_be_found(databases: Databases) -> None:
    warehouse = Warehouse(databases.migrated())
    with warehouse.write() as connection:
        connection.execute(text("ALTER TABLE leads ADD COLUMN stray INTEGER"))
    assert drift_of(warehouse) != []
    warehouse.close()


@pytest.mark.slow
def test_down_to_nothing_and_up_again(databases: Databases) -> None:
    warehouse = Warehouse(databases.migrated())
    warehouse.migrate("base")
    assert tables_of(warehouse) <= {VERSION_TABLE}
    warehouse.migrate()
    assert warehouse.is_current()
    assert drift_of(warehouse) == []
    warehouse.close()


@pytest.mark.slow
def test_before_0011_no_message_for_operators_is_left_that_would_go_to_the_sales_team(databases: Databases) -> None:
    warehouse = Warehouse(databases.migrated())
    now = datetime(2026, 11, 28, tzinfo=UTC)
    events = [
        outbox.entered("a.com.tr", "P1", now),
        outbox.changed("disk", outbox.Change.RAISED, "wrong", "full", now, now, "operators_mail"),
    ]
    with warehouse.write() as connection:
        outbox.add(connection, events)
    command.downgrade(warehouse._alembic(), "0010")
    with warehouse.read() as connection:
        assert connection.execute(text("SELECT subject FROM outbox")).scalars().all() == ["a.com.tr"]
    warehouse.migrate()
    with warehouse.read() as connection:
        assert [row.channel for row in outbox.listed(connection, everything=True)] == [outbox.SALES]
    warehouse.close()


def test_migrating_twice_changes_nothing(databases: Databases) -> None:
    warehouse = Warehouse(databases.migrated())
    warehouse.migrate()
    assert warehouse.is_current()
    warehouse.close()


def test_tables_of_other_origin_are_refused_by_name_and_left_alone(databases: Databases) -> None:
    warehouse = Warehouse(databases.empty())
    with warehouse.engine.begin() as connection:
        connection.execute(text("CREATE TABLE leads (id INTEGER PRIMARY KEY, note TEXT)"))
        connection.execute(text("CREATE TABLE companies (id INTEGER PRIMARY KEY)"))
        connection.execute(text("CREATE TABLE unrelated (id INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO leads VALUES (1, 'kept')"))
    for attempt in (warehouse.migrate, lambda: Warehouse.open(warehouse.url)):
        with pytest.raises(WarehouseError, match=r"companies, leads; name another database") as caught:
            attempt()
        assert "unrelated" not in str(caught.value)
    assert tables_of(warehouse) == {"leads", "companies", "unrelated"}
    with warehouse.read() as connection:
        assert connection.execute(text("SELECT note FROM leads")).scalar_one() == "kept"
    warehouse.close()


def test_a_schema_newer_than_the_code_is_refused(databases: Databases) -> None:
    warehouse = Warehouse(databases.migrated())
    with warehouse.write() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(WarehouseError, match="newer version"):
        Warehouse.open(warehouse.url)
    warehouse.close()


def test_sqlite_is_migrated_by_whoever_opens_it_first(sqlite: SqliteFiles) -> None:
    warehouse = Warehouse.open(sqlite.empty())
    assert warehouse.is_current()
    warehouse.close()


@pytest.mark.postgres
@pytest.mark.slow
def test_alembics_own_command_makes_the_default_file_in_an_empty_home_folder(home: Path) -> None:
    alembic = [sys.executable, "-m", "alembic", "-c", str(PROJECT_ROOT / "alembic.ini")]
    done = subprocess.run([*alembic, "upgrade", "head"], cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert (home / ".hunter/hunter.db").exists()


def test_postgresql_is_migrated_on_purpose_only(postgres: PostgresServer) -> None:
    url = postgres.empty()
    with pytest.raises(WarehouseError, match="run `partner-center migrate`"):
        Warehouse.open(url)
    warehouse = Warehouse(url)
    assert tables_of(warehouse) == set()
    warehouse.migrate()
    Warehouse.open(url).close()
    warehouse.close()


@pytest.mark.postgres
def test_dagsters_own_version_table_in_the_same_database_does_not_disturb(postgres: PostgresServer) -> None:
    warehouse = Warehouse(postgres.empty())
    with warehouse.engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('284a732df317')"))
    warehouse.migrate()
    assert warehouse.is_current()
    with warehouse.read() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "284a732df317"
    warehouse.close()


@pytest.mark.postgres
def test_a_server_that_cannot_be_reached_is_named_without_its_password() -> None:
    with pytest.raises(WarehouseError, match="cannot be used") as caught:
        Warehouse.open("postgresql+psycopg://hunter:secret@127.0.0.1:1/hunter")
    assert "secret" not in str(caught.value)
    assert "HUNTER_DATABASE_URL" in str(caught.value)


@pytest.mark.slow
def test_processes_that_open_a_new_file_at_once_all_find_it_migrated(sqlite: SqliteFiles) -> None:
    url = sqlite.empty()
    code = (
        "import sys; from partner_center_pipeline.warehouse.database import Warehouse;"
        "w = Warehouse.open(sys.argv[1]); assert w.is_current(); w.close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, cwd=PROJECT_ROOT) for _ in range(4)
    ]
    outcomes = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    assert [code for _, code in outcomes] == [0, 0, 0, 0], outcomes


def test_the_migrations_can_be_written_as_sql(capsys: pytest.CaptureFixture[str], sqlite: SqliteFiles) -> None:
    warehouse = Warehouse(sqlite.empty())
    command.upgrade(warehouse._alembic(), "head", sql=True)
    assert "CREATE TABLE raw_referrals" in capsys.readouterr().out
    warehouse.close()
