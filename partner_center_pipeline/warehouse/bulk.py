"""Inserts and updates many rows at once.

PostgreSQL: COPY to a temporary table, then INSERT ... ON CONFLICT. SQLite: executemany with ON CONFLICT. Never a
statement per row and never `.values([...])` with many dicts (measured three times slower: architecture.md, "Memory
and time"). Where the caller knows that none of the keys is stored yet, COPY writes to the table itself.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, Self

import orjson
from sqlalchemy import (
    JSON,
    Boolean,
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
    make_url,
    select,
)
from sqlalchemy import table as lightweight_table
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError

_log = logging.getLogger(__name__)

Row = Mapping[str, Any]
Guard = Callable[[Any], ColumnElement[bool]]
"""Takes the row that was to be inserted (`excluded`) and says whether it may replace the stored one."""

CHUNK: Final = 1000
"""Rows or keys per step where a caller goes through many."""


def chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the keys, CHUNK at a time: a statement takes a limited number of variables; transactions stay short."""
    return (keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK))


class _Among(FunctionElement[bool]):
    """Whether a column's text is in a JSON list of texts: the two arguments."""

    name = "among"
    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Self:  # noqa: ARG002  named by SQLAlchemy
        """Return the condition as it is: on SQLite, SQLAlchemy would compare it with 1, and no index would be used."""
        return self


@compiles(_Among, "sqlite")
def _among_in_sqlite(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, keys = (compiler.process(each, **options) for each in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({keys})))"  # noqa: S608  names and bind names


@compiles(_Among, "postgresql")
def _among_in_postgresql(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, keys = (compiler.process(each, **options) for each in element.clauses)
    return f"({column} = ANY (ARRAY(SELECT json_array_elements_text(CAST({keys} AS json)))))"


def among(column: ColumnElement[Any], keys: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that a column of texts has one of these keys, of which there may be a thousand.

    With `IN (...)`, each key is a parameter: SQLAlchemy and the driver then work longer on a statement than the
    database does, and PostgreSQL, as long as it has no statistics, reads the whole table instead of an index.
    """
    return _Among(column, bindparam(None, orjson.dumps(list(keys)).decode(), Text, unique=True))


def present(connection: Connection, table: Table, keys: Collection[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Return those of these keys that the table holds. A key has the texts of the primary key's columns, in order.

    The keys are joined, so that each is looked up in the index. With `IN (...)`, PostgreSQL reads the whole table as
    long as it has no statistics of it, which is the case until a first load is over.
    """
    if not keys:
        return set()
    statement = _present_in_postgresql if connection.dialect.name == "postgresql" else _present_in_sqlite
    # Sent as JSON: the database parses it faster than the driver builds arrays.
    given = orjson.dumps(list(keys)).decode()
    return {tuple(row) for row in connection.execute(statement(table), {"keys": given}).all()}


@cache
def _present_in_postgresql(table: Table) -> Select[Any]:
    keys = func.json_array_elements(cast(bindparam("keys", type_=Text), JSON)).table_valued("value", name="given")
    texts = [keys.c.value.op("->>")(literal_column(str(index))) for index in range(len(table.primary_key))]
    return _stored_keys(table, keys, texts)


@cache
def _present_in_sqlite(table: Table) -> Select[Any]:
    keys = func.json_each(bindparam("keys")).table_valued("value")
    texts = [func.json_extract(keys.c.value, f"$[{index}]") for index in range(len(table.primary_key))]
    return _stored_keys(table, keys, texts)


def _stored_keys(table: Table, keys: FromClause, texts: Sequence[ColumnElement[Any]]) -> Select[Any]:
    columns = list(table.primary_key.columns)
    same = and_(*(key_column == text for key_column, text in zip(columns, texts, strict=True)))
    return select(*columns).join_from(keys, table, same)


MANY: Final = 2 * CHUNK
"""Rows from which on a caller that wrote them lets PostgreSQL look at the tables again."""


def take_statistics(connection: Connection, *tables: Table) -> None:
    """Let PostgreSQL look at tables that many rows were written to; SQLite needs none.

    Autovacuum does so a minute later. Until then it takes a table for empty: what followed from a first load of 20,000
    referrals was read in 16 s instead of 6. Long texts and JSON that no index holds are left to autovacuum.
    """
    if connection.dialect.name == "postgresql":
        # What another one is looking at, or has locked, is left out: nobody is to wait for statistics.
        connection.exec_driver_sql(f"ANALYZE (SKIP_LOCKED) {', '.join(map(_searched_columns, tables))}")


def take_statistics_after(db: Warehouse, written: int, *tables: Table) -> None:
    """Do so, in a transaction that keeps no writer off, where at least MANY rows were `written`.

    The rows are in already. So an error is told and ends nothing.
    """
    if written < MANY:
        return
    try:
        with db.read() as connection:
            take_statistics(connection, *tables)
            connection.commit()
    except WarehouseError as error:
        _log.warning("the database could not look at what was written, and may be slower for some minutes: %s", error)


@cache
def _searched_columns(table: Table) -> str:
    indexed = {column.name for index in table.indexes for column in index.columns}
    names = [
        column.name
        for column in table.columns
        if column.primary_key or column.name in indexed or not isinstance(column.type, (Text, JSON))
    ]
    return f"{table.name} ({', '.join(names)})"


def insert_absent(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows after the caller checked with `present`, in this transaction of `begin_writing`, that all are new.

    A key that is stored after all fails the transaction.
    """
    if not rows:
        return
    names = list(rows[0])
    if connection.dialect.name == "postgresql":
        _copy(connection, table, table.name, names, rows)
    else:
        placeholders = ", ".join("?" for _ in names)
        connection.exec_driver_sql(
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({placeholders})",  # noqa: S608  names of our own columns
            list(_bound(connection, table, names, rows)),
        )


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows with keys that are not stored yet; stored rows stay as they are."""
    _write(connection, table, rows, updating=False, guard=None)


def upsert(connection: Connection, table: Table, rows: Sequence[Row], guard: Guard | None = None) -> None:
    """Insert rows of distinct keys; where a key is stored already, update that row if `guard` allows it.

    `guard` is a function of a module: the statement is made once for each.
    """
    _write(connection, table, rows, updating=True, guard=guard)


def _write(connection: Connection, table: Table, rows: Sequence[Row], *, updating: bool, guard: Guard | None) -> None:
    if not rows:
        return
    names = tuple(rows[0])
    statement = _statement(connection.dialect.name, table, names, updating, guard)
    if connection.dialect.name == "postgresql":
        _stage(connection, table, names, rows)
        connection.exec_driver_sql(statement.sql)
    else:
        connection.exec_driver_sql(statement.sql, list(_bound(connection, table, statement.parameters, rows)))


class _Statement(NamedTuple):
    """A statement's text, and the columns of its parameters in order: none on PostgreSQL.

    It is sent as text, because SQLAlchemy would work on each value of each row, and again for each call.
    """

    sql: str
    parameters: tuple[str, ...]


@cache
def _statement(dialect: str, table: Table, names: tuple[str, ...], updating: bool, guard: Guard | None) -> _Statement:
    insert: Any
    if dialect == "postgresql":
        stage = lightweight_table(_stage_of(table), *(column(name) for name in names))
        insert = postgresql_insert(table).from_select(names, select(*stage.columns))
    else:
        insert = sqlite_insert(table)
    keys = list(table.primary_key.columns)
    if updating:
        insert = insert.on_conflict_do_update(
            index_elements=keys,
            set_={name: insert.excluded[name] for name in names if name not in table.primary_key.columns},
            where=guard(insert.excluded) if guard else None,
        )
    else:
        insert = insert.on_conflict_do_nothing(index_elements=keys)
    compiled = insert.compile(dialect=make_url(f"{dialect}://").get_dialect()(), column_keys=names)
    return _Statement(str(compiled), () if dialect == "postgresql" else tuple(compiled.positiontup))


def _stage_of(table: Table) -> str:
    return f"stage_{table.name}"


def _stage(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]) -> None:
    """Copy the rows to a temporary table with the same columns, emptied at each commit."""
    stage = _stage_of(table)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} (LIKE {table.name} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
    )
    connection.exec_driver_sql(f"TRUNCATE {stage}")
    _copy(connection, table, stage, names, rows)


def _copy(connection: Connection, table: Table, target: str, names: Sequence[str], rows: Sequence[Row]) -> None:
    driver = connection.connection.driver_connection
    if driver is None:
        raise RuntimeError("the connection to PostgreSQL was closed")
    with driver.cursor() as cursor, cursor.copy(f"COPY {target} ({', '.join(names)}) FROM STDIN") as copy:
        for values in _bound(connection, table, names, rows):
            copy.write_row(values)


def _bound(
    connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]
) -> Iterator[tuple[Any, ...]]:
    """Yield each row's values as the driver takes them, without SQLAlchemy's work on every single parameter."""
    return zip(*(_bound_column(connection, table.c[name], [row[name] for row in rows]) for name in names), strict=True)


def _bound_column(connection: Connection, column: Column[Any], values: list[Any]) -> list[Any]:
    dialect = connection.dialect
    bind = column.type.dialect_impl(dialect).bind_processor(dialect)
    if bind is None:
        return values
    first = values[0]
    if all(value is first for value in values):  # for example the time of a page
        return [bind(first)] * len(values)
    return [bind(value) for value in values]
