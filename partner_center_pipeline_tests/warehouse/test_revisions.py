"""The same tables come out of an upgrade and of a fresh build; a migration that is killed changes nothing."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event, inspect, text
from sqlalchemy.engine.reflection import ObjectKind

from alembic import command
from partner_center_pipeline.warehouse import companies, schema
from partner_center_pipeline.warehouse.copies import FOLDER
from partner_center_pipeline.warehouse.database import Warehouse, revisions
from partner_center_pipeline.warehouse.schema import VERSION_TABLE, metadata
from partner_center_pipeline.warehouse.views import view_sql
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.warehouse.rows import company

Schema = dict[str, Any]


def schema_of(warehouse: Warehouse) -> Schema:
    """Everything that a database knows of its tables and views, but the order of columns."""
    with warehouse.read() as connection:
        found = inspect(connection)
        keys, foreign, indexes = (
            found.get_multi_pk_constraint(),
            found.get_multi_foreign_keys(),
            found.get_multi_indexes(),
        )
        comments: dict[Any, Any] = {} if warehouse.is_sqlite else dict(found.get_multi_table_comment())
        columns = found.get_multi_columns(kind=ObjectKind.ANY)
        tables = {
            where[1]: {
                "comment": comments.get(where, {}).get("text"),
                "columns": {column["name"]: _column(column) for column in columns[where]},
                "key": keys[where]["constrained_columns"],
                "foreign": sorted(
                    (key["constrained_columns"], key["referred_table"], str(key["options"])) for key in foreign[where]
                ),
                "indexes": sorted(
                    (str(index["name"]), index["column_names"], bool(index["unique"]), sorted(_where(index)))
                    for index in indexes[where]
                ),
            }
            for where in keys
        }
        views = {
            name: {
                "columns": [_column(column) for column in columns[(None, name)]],
                "sql": str(found.get_view_definition(name)).strip(),
            }
            for name in found.get_view_names()
        }
        return {"tables": tables, "views": views}


def _column(column: Any) -> tuple[Any, ...]:
    kind = column["type"]
    return (
        str(kind),
        getattr(kind, "collation", None),
        column["nullable"],
        column["default"],
        column.get("comment"),
    )


def _where(index: Any) -> Iterator[str]:
    return (f"{name} {value}" for name, value in index.get("dialect_options", {}).items() if name.endswith("_where"))


@pytest.mark.slow
def test_each_step_up_or_down_ends_in_the_same_tables_whatever_way_led_there(databases: Databases) -> None:
    """So every pair of revisions does: a migration knows the tables before it, and not how they came about."""
    warehouse = Warehouse(databases.empty())
    upwards = revisions()[::-1]
    known: list[Schema] = []
    for revision in upwards:
        warehouse.migrate(revision)
        known.append(schema_of(warehouse))
    for number in range(len(upwards) - 2, -1, -1):
        command.downgrade(warehouse._alembic(), upwards[number])
        assert schema_of(warehouse) == known[number], f"down to {upwards[number]}"
    for revision, tables in zip(upwards, known, strict=True):
        warehouse.migrate(revision)
        assert schema_of(warehouse) == tables, f"down to the first revision and up again to {revision}"
    assert warehouse.is_current()
    warehouse.close()


@pytest.mark.slow
def test_the_migrations_make_what_the_code_describes(databases: Databases) -> None:
    migrated, built = Warehouse(databases.migrated()), Warehouse(databases.empty())
    with built.write() as connection:
        metadata.create_all(connection)
        connection.execute(text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        for statement in view_sql(connection.dialect.name).values():
            connection.execute(text(statement))
    tables, expected = schema_of(migrated), schema_of(built)
    if not migrated.is_sqlite:  # PostgreSQL writes out what `leads.*` stands for, in the order of the columns
        for view in (*tables["views"].values(), *expected["views"].values()):
            del view["sql"]
    assert tables == expected
    migrated.close()
    built.close()


def _migrate_until_killed(url: str, revision: str, statements: int) -> None:
    left = iter(range(statements))

    @event.listens_for(Engine, "before_cursor_execute")
    def _count(*_: object) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    Warehouse(url).migrate(revision)
    os._exit(0)


@pytest.mark.slow
@pytest.mark.parametrize("statements", [40, 90])
def test_a_process_killed_in_a_migration_leaves_the_tables_and_the_next_one_migrates(
    databases: Databases, statements: int
) -> None:
    url = databases.empty()
    before = Warehouse(url)
    before.migrate("0001")
    with before.write() as connection:
        values = {name: value for name, value in company("a.com").items() if name not in ("name_block", "derived_with")}
        connection.execute(schema.companies.insert().values(values))
    tables = schema_of(before)
    before.close()
    child = multiprocessing.get_context("fork").Process(target=_migrate_until_killed, args=(url, "head", statements))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    after = Warehouse(url)
    assert after.revision() == "0001"
    assert schema_of(after) == tables
    after.migrate()
    assert after.is_current()
    with after.read() as connection:
        assert list(companies.load(connection, ["a.com"])) == ["a.com"]
    if after.file is not None:  # and no half copy stays
        copies = [path.name for path in (after.file.parent / FOLDER).iterdir()]
        assert copies
        assert all(name.endswith(f"-0001-{after.file.name}") for name in copies)
    after.close()
