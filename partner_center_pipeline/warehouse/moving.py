"""Moves a SQLite warehouse to PostgreSQL in chunks, and compares both, table by table.

The file is opened read only, and read in one snapshot. How far each table got is kept in the target, in the transaction
that wrote the rows, so a move that was killed goes on from there. As long as that table is there, nothing else opens
the target. Which tables there are, the schema's metadata says. Not here: the command (`cli.migrate_warehouse`).
"""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Engine,
    MetaData,
    Select,
    Table,
    Text,
    cast,
    create_engine,
    event,
    func,
    inspect,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from partner_center_pipeline.warehouse import lease
from partner_center_pipeline.warehouse.bulk import insert_absent, insert_new
from partner_center_pipeline.warehouse.database import JsonText, Warehouse, WarehouseError, revisions
from partner_center_pipeline.warehouse.schema import (
    UNFINISHED_MOVE,
    VERSION_TABLE,
    Rate,
    columns_of,
    metadata,
    row_dict,
)

OLDEST_SERVER: Final = 15
"""The oldest version of PostgreSQL that the project is tested with."""

CHUNK_ROWS: Final = 1_000
CHUNK_BYTES: Final = 8_000_000
"""What is read before it is written: so many rows or characters, whichever is reached first. That bounds the memory."""

_READ_ROWS: Final = 100
"""Rows that are taken from a database at once."""
_RATE_STEP: Final = Decimal("1E-10")
"""The precision of a rate on PostgreSQL."""

_ROLE: Final = text(
    """
    SELECT current_user AS name, current_schema() AS schema,
           current_setting('transaction_read_only') = 'on' AS reads_only,
           coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
           (SELECT array_agg(DISTINCT pg_get_userbyid(c.relowner)::text) FROM pg_class AS c
            WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
              AND c.relname = ANY (:tables) AND NOT pg_has_role(c.relowner, 'USAGE')) AS owners
    """
)
_MOVES: Final = 0x6D_6F_76_65
"""The key of the advisory lock of a move on PostgreSQL: "move" in ASCII."""

_progress: Final = Table(
    UNFINISHED_MOVE,
    MetaData(),
    Column("table_name", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("last_key", Text),
    Column("is_whole", Boolean, nullable=False),
)
"""How far a move got: of each table the rows that are copied, and the key of the last one as JSON."""

Report = Callable[[int, str], None]
"""Given how many rows are done since the last call, and what is done with them."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What a table holds: how many rows, and the sum of the SHA-256 of each row in its canonical form (hexadecimal)."""

    rows: int
    checksum: str


class _RefusedRowsError(WarehouseError):
    """The target's tables do not take rows of the file: they refer to rows that are not there, or are there already."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a move has to do: the rows of each table of the file, and how many of them are in the target already."""

    rows: Mapping[str, int]
    copied: int
    is_unfinished: bool


class MoveTarget(Warehouse):
    """The PostgreSQL that a SQLite warehouse is moved into; it may hold a part of it from an earlier try."""

    named_by = "--to"

    def _refuse_unfinished_move(self, present: Collection[str]) -> None:
        """Refuse nothing: finishing it is what this is for."""


@dataclass(frozen=True, slots=True)
class MoveSource:
    """A SQLite warehouse, opened read only: `connection` shows it as it was when it was opened."""

    file: Path
    connection: Connection
    _watch: sqlite3.Connection
    _version: int

    def refuse_changes(self) -> None:
        """Raise WarehouseError when another program has written to the file since it was opened."""
        if _data_version(self._watch) != self._version:
            raise WarehouseError(
                f"{self.file} was written to while it was moved; stop `partner-center ui` and whatever else runs on "
                "it, then run again: it goes on, and copies what has changed anew"
            )

    def count(self, table: Table) -> int:
        """Return how many rows a table has."""
        return int(self.connection.execute(select(func.count()).select_from(table)).scalar_one())


# The source -----------------------------------------------------------------------------------------------------------


@contextmanager
def opened_source(file: Path) -> Iterator[MoveSource]:
    """Open a SQLite warehouse read only, as it is now. Others may write to it; `refuse_changes` notices it.

    Raises WarehouseError for a file that is missing or damaged, of another schema than this version needs, or whose
    lease a run holds.
    """
    if not file.exists():
        raise WarehouseError(f"there is no warehouse to move: HUNTER_DATABASE_URL names {file}, and there is no file")
    engine = _read_only(file)
    try:
        with closing(_connected(file)) as watch, engine.connect() as connection:
            source = MoveSource(file, connection, watch, _data_version(watch))
            _refuse_damaged(source)
            _refuse_another_schema(source)
            _refuse_a_run_at_work(source)
            yield source
    except (DatabaseError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DatabaseError) else error
        if isinstance(error, DatabaseError) and not isinstance(cause, sqlite3.Error):
            raise
        raise WarehouseError(
            f"{file} cannot be read ({cause}); check that it may be read and is a warehouse of this program"
        ) from None
    finally:
        engine.dispose()


def _connected(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    connection.isolation_level = None
    return connection


def _read_only(file: Path) -> Engine:
    engine = create_engine("sqlite://", creator=lambda: _connected(file), poolclass=NullPool, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN DEFERRED")

    return engine


def _data_version(watch: sqlite3.Connection) -> int:
    """Return a number that is another one after each commit of another connection."""
    return int(watch.execute("PRAGMA data_version").fetchone()[0])


def _refuse_damaged(source: MoveSource) -> None:
    said = source.connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if said != "ok":
        raise WarehouseError(
            f"the SQLite file {source.file} is damaged ({said}); restore a backup first (`partner-center restore`)"
        )


def _refuse_another_schema(source: MoveSource) -> None:
    known, present = revisions(), inspect(source.connection).get_table_names()
    query = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608  a constant
    revision = source.connection.execute(query).scalar_one_or_none() if VERSION_TABLE in present else None
    if revision is None:
        raise WarehouseError(f"{source.file} has no tables yet, so there is nothing to move")
    if revision not in known:
        raise WarehouseError(f"{source.file} was migrated by a newer version of this project; update the project")
    if revision != known[0]:
        raise WarehouseError(
            f"{source.file} has the schema {revision}, and this version moves {known[0]}; run `partner-center migrate`"
        )


def _refuse_a_run_at_work(source: MoveSource) -> None:
    held = lease.held(source.connection, lambda: datetime.now(UTC))
    if held is not None:
        raise WarehouseError(
            f"run {held.holder} is fetching from Partner Center since {held.since:%Y-%m-%d %H:%M:%S} UTC; nothing was "
            "moved. Switch the sync off (HUNTER_PARTNER_CENTER_ENABLED=false, and stop `partner-center ui` and "
            "timers), wait until it has ended, then run again"
        )


# The target -----------------------------------------------------------------------------------------------------------


def planned(source: MoveSource, target: MoveTarget) -> Plan:
    """Return what there is to do, without a change. Raises WarehouseError where the target cannot take the rows.

    That is a server or an encoding that cannot hold them, a newer schema, a move of another file, or other rows: a
    target that holds exactly the same is one whose move has ended.
    """
    counts = {table.name: source.count(table) for table in metadata.sorted_tables}
    _refuse_server(target)
    _refuse_role(target)
    if target.revision() is None:
        return Plan(counts, 0, is_unfinished=False)
    target.is_current()  # it raises for a newer one
    with target.read() as connection:
        present = set(inspect(connection).get_table_names())
        if UNFINISHED_MOVE in present:
            rows = connection.execute(select(_progress.c.source, _progress.c.rows)).all()
            sources = {row.source for row in rows}
            if sources != {str(source.file)}:
                raise WarehouseError(
                    f"the move of {', '.join(sorted(sources))} into {target.shown} is not finished; finish that one, "
                    "or name an empty database in --to"
                )
            return Plan(counts, sum(row.rows for row in rows), is_unfinished=True)
        held = _rows_held(connection)
    if held and (held != {name: count for name, count in counts.items() if count} or not target.is_current()):
        _refuse_other_data(target, held)
    return Plan(counts, sum(held.values()), is_unfinished=False)


def _rows_held(connection: Connection) -> dict[str, int]:
    """Return how many rows the target's tables have, without the empty ones."""
    present = set(inspect(connection).get_table_names())
    counts = {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in metadata.sorted_tables
        if table.name in present
    }
    return {name: count for name, count in counts.items() if count}


def _refuse_other_data(target: MoveTarget, held: Collection[str]) -> None:
    raise WarehouseError(
        f"{target.shown} holds other data already, in {', '.join(sorted(held))}; nothing was changed. Name an empty "
        "database or schema in --to"
    )


def _refuse_server(target: MoveTarget) -> None:
    if target.is_sqlite:
        raise WarehouseError("--to names a SQLite file; a warehouse is moved to PostgreSQL (postgresql+psycopg://…)")
    with target._as_warehouse_error(), target.engine.connect() as connection:
        version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if version < OLDEST_SERVER * 10_000:
        raise WarehouseError(
            f"{target.shown} is PostgreSQL {version // 10_000}; {OLDEST_SERVER} or newer is needed. Nothing was changed"
        )
    if encoding != "UTF8":
        raise WarehouseError(
            f"{target.shown} has the encoding {encoding}, which cannot hold every name; make one with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0. Nothing was changed"
        )


def _refuse_role(target: MoveTarget) -> None:
    with target._as_warehouse_error(), target.engine.connect() as connection:
        role = connection.execute(_ROLE, {"tables": list(metadata.tables)}).one()
    if role.reads_only:
        raise WarehouseError(
            f"{target.shown} can only be read: it is a standby, or default_transaction_read_only is on for it or for "
            f"the role {role.name}. Name a database that can be written to. Nothing was changed"
        )
    if role.owners:
        raise WarehouseError(
            f"{target.shown} cannot be filled by this role: the tables in it belong to {', '.join(role.owners)}, and "
            f"the role {role.name} is not a member of that. Name the owner in --to. Nothing was changed"
        )
    if not role.may_create:
        where = f"the schema {role.schema}" if role.schema else "any schema of its search_path"
        raise WarehouseError(
            f"the role {role.name} may not make tables in {where} of {target.shown}. Let the schema's owner run "
            f"GRANT CREATE ON SCHEMA {role.schema or '…'} TO {role.name}, or name another schema or role in --to. "
            "Nothing was changed"
        )


def move(source: MoveSource, target: MoveTarget, plan: Plan, report: Report) -> dict[str, Sum]:
    """Copy every table that is not there yet, compare all of them, and let the target be a warehouse.

    Returns what each table holds, the same in both. What an earlier try copied stays; a table that differs, because the
    file was written to since then, is copied anew once. All tables are, where a row does not fit to what is there: it
    refers to one that came since then, or a migration of the target has made it. Raises WarehouseError when both differ
    after all.
    """
    if plan.copied and not plan.is_unfinished:
        found, differing = _compared(source, target, report)
        if differing:
            _refuse_other_data(target, differing)
        return found
    with _alone(target) as alone:
        if not target.is_current():
            target.migrate()
        _begin(source, target)
        return _moved(source, target, report, alone)


@contextmanager
def _alone(target: MoveTarget) -> Iterator[Callable[[], None]]:
    """Keep other moves out of the target. Gives what raises WarehouseError when that is no longer so.

    The lock lasts as long as its transaction, which does nothing else, so that it also works through PgBouncer.
    """
    with target.read() as connection:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _MOVES}).scalar_one():
            raise WarehouseError(
                f"another move into {target.shown} is at work; wait until it has ended, then run again"
            )

        def check() -> None:
            connection.execute(text("SELECT 1"))

        yield check


def _moved(source: MoveSource, target: MoveTarget, report: Report, alone: Callable[[], None]) -> dict[str, Sum]:
    for is_last in (False, True):
        try:
            _copy(source, target, report)
        except _RefusedRowsError:
            if is_last:
                raise
            alone()
            _forget(target, metadata.tables)
            continue
        found, differing = _compared(source, target, report)
        source.refuse_changes()
        alone()
        if not differing:
            _finish(target)
            return found
        _forget(target, differing)
    raise WarehouseError(
        f"{target.shown} does not hold what {source.file} does, in {', '.join(sorted(differing))}; the old file is as "
        "it was, so go on with it. Run again, and report it as a defect if the same tables differ"
    )


def _begin(source: MoveSource, target: MoveTarget) -> None:
    """Note in the target that it is being filled; what an earlier try noted stays.

    Raises WarehouseError when somebody else has filled it since it was looked at.
    """
    empty = [
        {"table_name": name, "source": str(source.file), "rows": 0, "last_key": None, "is_whole": False}
        for name in metadata.tables
    ]
    with target.write() as connection:
        if not inspect(connection).has_table(UNFINISHED_MOVE):
            if held := _rows_held(connection):
                _refuse_other_data(target, held)
            _progress.create(connection)
        insert_new(connection, _progress, empty)


def _copy(source: MoveSource, target: MoveTarget, report: Report) -> None:
    """Copy what is not whole in the target, from where each table got, a table before those that refer to it."""
    for table in metadata.sorted_tables:
        with target.read() as connection:
            done = connection.execute(select(_progress).where(_progress.c.table_name == table.name)).one()
        if done.is_whole:
            continue
        count = done.rows
        rows = _rows_after(source, table, done.last_key)
        for chunk in chunked(rows, CHUNK_ROWS, CHUNK_BYTES):
            count += len(chunk)
            _write_chunk(target, table, chunk, count)
            source.refuse_changes()
            report(len(chunk), f"copying {table.name}")
        with target.write() as connection:
            connection.execute(_noted(table).values(is_whole=True))


def _write_chunk(target: MoveTarget, table: Table, chunk: Sequence[Mapping[str, Any]], count: int) -> None:
    """Write rows and note how far the table got, both or nothing."""
    last = json.dumps([chunk[-1][key.name] for key in table.primary_key])
    try:
        with target.write() as connection:
            _insert(connection, table, chunk)
            connection.execute(_noted(table).values(rows=count, last_key=last))
    except _RefusedRowsError:
        raise
    except WarehouseError as error:
        raise WarehouseError(f"the table {table.name} cannot be copied: {error}") from None


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    try:
        insert_absent(connection, table, rows)
    except psycopg.errors.IntegrityError as error:
        raise _RefusedRowsError(
            f"the table {table.name} cannot be copied: a row refers to one that is not there, or is there twice "
            f"({error.diag.constraint_name}, {error.sqlstate}). The old file is as it was, so go on with it, and "
            "report this as a defect"
        ) from None


def _noted(table: Table) -> Any:
    return update(_progress).where(_progress.c.table_name == table.name)


def _forget(target: MoveTarget, differing: Collection[str]) -> None:
    """Empty tables, and those that refer to them, so that they are copied anew."""
    emptied: set[str] = set(differing)
    for table in metadata.sorted_tables:
        if any(key.column.table.name in emptied for key in table.foreign_keys):
            emptied.add(table.name)
    with target.write() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(sorted(emptied))}"))
        fresh = update(_progress).where(_progress.c.table_name.in_(emptied))
        connection.execute(fresh.values(rows=0, last_key=None, is_whole=False))


def _finish(target: MoveTarget) -> None:
    """Let numbers go on after the highest copied one, and the target be a warehouse as any other."""
    with target.write() as connection:
        connection.execute(text(f"ANALYZE {', '.join(sorted(metadata.tables))}"))
        for table in metadata.sorted_tables:
            number = table.autoincrement_column
            if number is not None:
                sequence = func.pg_get_serial_sequence(table.name, number.name)
                highest = select(func.max(number)).scalar_subquery()
                connection.execute(select(func.setval(sequence, func.coalesce(highest, 1), highest.is_not(None))))
        _progress.drop(connection)


# Rows -----------------------------------------------------------------------------------------------------------------


def chunked(rows: Iterable[Mapping[str, Any]], most_rows: int, most_size: int) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the rows in lists of so many rows or characters at most; a longer row is alone."""
    chunk: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        length = sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        if chunk and (len(chunk) >= most_rows or size + length > most_size):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += length
    if chunk:
        yield chunk


def _rows_after(source: MoveSource, table: Table, last_key: str | None) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a table behind a key, in the order of their keys, as they are inserted."""
    keys = list(table.primary_key)
    query = _all_columns(table).order_by(*keys)
    if last_key is not None:
        last = [literal(value, key.type) for key, value in zip(keys, json.loads(last_key), strict=True)]
        query = query.where(tuple_(*keys) > tuple_(*last))
    as_json = [column.name for column in table.columns if isinstance(column.type, JSON)]
    for row in _streamed(source.connection, query):
        for name in as_json:
            row[name] = None if row[name] is None else JsonText(row[name])
        yield row


def _streamed(connection: Connection, query: Select[Any]) -> Iterator[dict[str, Any]]:
    for row in connection.execute(query, execution_options={"yield_per": _READ_ROWS}):
        yield row_dict(row)


def _all_columns(table: Table) -> Select[Any]:
    """Select a table's columns by their names, JSON as the text that the database keeps or prints."""
    return select(*(_selected(column) for column in table.columns))


def _selected(column: Column[Any]) -> ColumnElement[Any]:
    return cast(column, Text).label(column.name) if isinstance(column.type, JSON) else column


# Comparing ------------------------------------------------------------------------------------------------------------


def _compared(source: MoveSource, target: MoveTarget, report: Report) -> tuple[dict[str, Sum], list[str]]:
    """Return what each table of the file holds, and the tables that differ in the target."""
    found, differing = {}, []
    for table in metadata.sorted_tables:
        found[table.name] = summed(source.connection, table, report)
        with target.read() as connection:
            if summed(connection, table) != found[table.name]:
                differing.append(table.name)
    return found, differing


def summed(connection: Connection, table: Table, report: Report | None = None) -> Sum:
    """Return what a table holds: the same for the same rows on both databases, in whatever order."""
    total = count = told = 0
    for row in _streamed(connection, _all_columns(table)):
        total += int.from_bytes(sha256(canonical(table, row)).digest())
        count += 1
        if report is not None and count % CHUNK_ROWS == 0:
            report(count - told, f"comparing {table.name}")
            told = count
    if report is not None:
        report(count - told, f"comparing {table.name}")
    return Sum(count, f"{total % 2**256:064x}")


def canonical(table: Table, row: Mapping[str, Any]) -> bytes:
    """Return a row in one form for both databases: a JSON list of its values, in the order of the columns.

    Instants are UTC, amounts have two decimals and rates ten, JSON has sorted keys and no spaces.
    """
    values = [_plain(table.c[name], row[name]) for name in columns_of(table)]
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _plain(column: Column[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column.type, JSON):
        document = json.loads(value, parse_float=_number)
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, Decimal):
        # PostgreSQL rounds to the precision of its column in this way; amounts are rounded when they are read.
        exact = value.quantize(_RATE_STEP, ROUND_HALF_UP) if isinstance(column.type, Rate) else value
        return format(exact, "f")
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return value


def _number(written: str) -> int | float:
    """Read a number with a fraction or an exponent: JSONB prints 1e23 as 1 with 23 zeros, which no float is."""
    value = Decimal(written)
    return int(value) if value == value.to_integral_value() else float(value)
