"""Many rows at once: the one way rows are inserted or updated.

PostgreSQL: COPY to a temporary table, then INSERT ... ON CONFLICT. SQLite: executemany with ON CONFLICT. Never a
statement per row and never `.values([...])` with many dicts (measured three times slower: architecture.md, "Memory
and time"). Where the caller knows that no key is there yet, COPY goes to the table itself.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

import orjson
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
)
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


def present(connection: Connection, table: Table, keys: Collection[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Those of these keys that the table holds; a key has the texts of the primary key's columns, in their order.

    The keys are joined, because each is then looked up in the index. Given as `IN (...)`, PostgreSQL reads the whole
    table for them while it has no statistics of it, which is so until a first load is over.
    """
    if not keys:
        return set()
    statement = _present_in_postgresql if connection.dialect.name == "postgresql" else _present_in_sqlite
    # As JSON, which the database takes apart faster than the driver puts arrays together.
    return {tuple(row) for row in connection.execute(statement(table), {"keys": orjson.dumps(list(keys)).decode()})}


@cache
def _present_in_postgresql(table: Table) -> Select[Any]:
    given = func.json_array_elements(cast(bindparam("keys", type_=Text), JSON)).table_valued("value", name="given")
    return _held(table, given, [given.c.value.op("->>")(literal_column(str(n))) for n in range(len(table.primary_key))])


@cache
def _present_in_sqlite(table: Table) -> Select[Any]:
    given = func.json_each(bindparam("keys")).table_valued("value")
    return _held(table, given, [func.json_extract(given.c.value, f"$[{n}]") for n in range(len(table.primary_key))])


def _held(table: Table, given: FromClause, texts: Sequence[ColumnElement[Any]]) -> Select[Any]:
    """The keys of the table that stand in `given` as these texts."""
    columns = list(table.primary_key.columns)
    same = and_(*(one == text for one, text in zip(columns, texts, strict=True)))
    return select(*columns).join_from(given, table, same)


def insert_absent(
    connection: Connection, table: Table, rows: Sequence[Row], meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Insert rows of which the caller found out, in this transaction of `begin_writing`, that no key is `present`.

    `meanwhile` is called once, without the connection, while PostgreSQL is at work on what it was sent. A key that is
    there after all fails the transaction.
    """
    if not rows:
        meanwhile()
        return
    names = list(rows[0])
    if connection.dialect.name == "postgresql":
        _copy(connection, table, table.name, names, rows, meanwhile)
    else:
        marks = ", ".join("?" for _ in names)
        connection.exec_driver_sql(
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})",  # noqa: S608  names of our own columns
            list(_bound(connection, table, names, rows)),
        )
        meanwhile()


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
    _copy(connection, table, stage, names, rows)
    return stage


def _copy(
    connection: Connection,
    table: Table,
    target: str,
    names: list[str],
    rows: Sequence[Row],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    driver = connection.connection.driver_connection
    if driver is None:
        raise RuntimeError("the connection to PostgreSQL was closed")
    with driver.cursor() as cursor, cursor.copy(f"COPY {target} ({', '.join(names)}) FROM STDIN") as copy:
        for values in _bound(connection, table, names, rows):
            copy.write_row(values)
        meanwhile()


def _bound(connection: Connection, table: Table, names: list[str], rows: Sequence[Row]) -> Iterator[tuple[Any, ...]]:
    """The rows' values as the driver takes them, without SQLAlchemy's work on each parameter of each row."""
    return zip(*(_bound_column(connection, table.c[name], [row[name] for row in rows]) for name in names), strict=True)


def _bound_column(connection: Connection, column: Column[Any], values: list[Any]) -> list[Any]:
    dialect = connection.dialect
    bind = column.type.dialect_impl(dialect).bind_processor(dialect)
    if bind is None:
        return values
    first = values[0]
    if all(value is first for value in values):  # the time of a page, say
        return [bind(first)] * len(values)
    return [bind(value) for value in values]
