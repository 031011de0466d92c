"""Many rows at once: the one way rows are inserted or updated.

PostgreSQL: COPY to a temporary table, then INSERT ... ON CONFLICT. SQLite: executemany with ON CONFLICT. Never a
statement per row and never `.values([...])` with many dicts (measured three times slower: architecture.md, "Memory
and time").
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, column, select
from sqlalchemy import table as lightweight_table
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

Row = Mapping[str, Any]
Guard = Callable[[Any], ColumnElement[bool]]
"""Given the row that was to be inserted (`excluded`), whether the stored one gives way."""

CHUNK: Final = 1000
"""Rows or keys taken at a time where a caller walks many."""


def chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """The keys, some at a time: a statement takes only so many variables, and a transaction should stay short."""
    return (keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK))


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows whose key is not there yet; the others stay as they are."""
    _write(connection, table, rows, update=None, guard=None)


def upsert(connection: Connection, table: Table, rows: Sequence[Row], guard: Guard | None = None) -> None:
    """Insert rows, each of another key, or bring the row of the same key up to date where `guard` allows."""
    keys = {key.name for key in table.primary_key}
    update = [name for name in (rows[0] if rows else ()) if name not in keys]
    _write(connection, table, rows, update=update, guard=guard)


def _write(
    connection: Connection,
    table: Table,
    rows: Sequence[Row],
    *,
    update: list[str] | None,
    guard: Guard | None,
) -> None:
    if not rows:
        return
    names = list(rows[0])
    insert: Any
    if connection.dialect.name == "postgresql":
        stage = lightweight_table(_stage(connection, table, names, rows), *(column(name) for name in names))
        insert = postgresql_insert(table).from_select(names, select(*stage.columns))
        parameters = None
    else:
        insert = sqlite_insert(table)
        parameters = [dict(row) for row in rows]
    keys = list(table.primary_key.columns)
    if update is None:
        insert = insert.on_conflict_do_nothing(index_elements=keys)
    else:
        insert = insert.on_conflict_do_update(
            index_elements=keys,
            set_={name: insert.excluded[name] for name in update},
            where=guard(insert.excluded) if guard else None,
        )
    connection.execute(insert, parameters)


def _stage(connection: Connection, table: Table, names: list[str], rows: Sequence[Row]) -> str:
    """COPY the rows to this session's temporary twin of the table, emptied at each commit; its name."""
    stage = f"stage_{table.name}"
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} (LIKE {table.name} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
    )
    connection.exec_driver_sql(f"TRUNCATE {stage}")
    dialect = connection.dialect
    binders = [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]
    driver = connection.connection.driver_connection
    if driver is None:
        raise RuntimeError("the connection to PostgreSQL was closed")
    with driver.cursor() as cursor, cursor.copy(f"COPY {stage} ({', '.join(names)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([bind(row[name]) if bind else row[name] for name, bind in zip(names, binders, strict=True)])
    return stage
