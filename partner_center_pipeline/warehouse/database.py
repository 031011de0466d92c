"""Opens the warehouse: engine, transactions, and the check that the schema is the one this code needs.

Opening migrates a SQLite file. PostgreSQL is migrated by `partner-center migrate` only, because other programs may use
its schema. A database that holds tables of the same names from another program is refused.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Final, Self

import orjson
import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError, ProgrammingError

from partner_center_pipeline.settings import HOME_VARIABLE, SHIPPED, Settings, home
from partner_center_pipeline.warehouse import locks
from partner_center_pipeline.warehouse.erasure_key import ErasureKeeping
from partner_center_pipeline.warehouse.locks import begin_writing_on_sqlite, lock_on_postgresql
from partner_center_pipeline.warehouse.schema import UNFINISHED_MOVE, VERSION_TABLE, metadata
from partner_center_pipeline.warehouse.time_limits import WHETHER_OURS, TimeLimits, limit_waits

OWN_FOLDER: Final = ".hunter"
"""The folder in the home folder that the default SQLite file is in; it is made when it is needed."""

_WRITING: Final = "sqlite_writing"
"""Execution option of a connection: whether its transactions on SQLite exclude other writers from their beginning."""
KEEPING: Final = "erasure_keeping"
"""Execution option of every connection: where the key of erased persons' digests is (`erasures.of`)."""
_WAL_PAGES: Final = 32_000
"""Pages in SQLite's write-ahead log before a checkpoint: 128 MB. With the default of 4 MB, the same index pages are
copied into the file again and again while a load commits page by page."""

_CACHED_KIB: Final = 8000
"""KiB of pages that SQLite keeps for a connection. With its default of 2,000, a first page of the list among a million
leads reads its own pages again and again."""

_LOG_KEPT: Final = 16_000_000
"""Bytes of SQLite's write-ahead log that stay when all of it is in the file. While somebody reads, the log of a load
grows to hundreds of megabytes, and SQLite by itself would keep the file as large as it once was."""

_COMPRESSION: Final = "default_toast_compression"

_WRITERS: Final = 0x70_61_72_74_6E_65_72
"""The key of the advisory lock that writers take on PostgreSQL: "partner" in ASCII."""
_WRITER: Final = "another run or command writes to %s; waiting up to %d s until it has finished"
"""What a writer tells that has to wait: the warehouse, and for how long."""


_VERSION: Final = text(f"SELECT version_num, 0 AS is_moved FROM {VERSION_TABLE}")  # noqa: S608  a constant
_VERSION_AND_MOVE: Final = text(
    f"SELECT version_num, to_regclass('{UNFINISHED_MOVE}') IS NOT NULL AS is_moved FROM {VERSION_TABLE}"  # noqa: S608
)


class WarehouseError(Exception):
    """The warehouse cannot be used as it is. The message says why and what to do."""


class JsonText(str):
    """A value for a JSON column that is JSON text already, so it is not serialized again."""

    __slots__ = ()


def _dumps(value: Any) -> str:
    return value if isinstance(value, JsonText) else orjson.dumps(value).decode()


def shown_url(url: URL) -> str:
    """Return the URL without its passwords: that of the user, and those that libpq takes behind the question mark."""
    return url.difference_update_query(["password", "sslpassword"]).render_as_string(hide_password=True)


def build_engine(url: str, limits: TimeLimits) -> Engine:
    """Make an engine for a SQLite file or PostgreSQL, which keeps the limits.

    SQLite writers begin with BEGIN IMMEDIATE and wait up to 60 s: SQLAlchemy's default lost updates, and a deferred
    BEGIN failed with "database is locked" (measured: dagster.md, "SQLite warehouse").
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        engine = create_engine(
            parsed,
            json_serializer=_dumps,
            json_deserializer=orjson.loads,
            pool_pre_ping=True,
            pool_use_lifo=True,  # the connection that has prepared the statements
            hide_parameters=True,
        )
        limit_waits(engine, limits)
        _prepare_connections(engine)
        return engine
    engine = create_engine(
        parsed,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        hide_parameters=True,
        connect_args={"timeout": locks.BUSY_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in (
            *("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"),
            *(f"wal_autocheckpoint={_WAL_PAGES}", f"journal_size_limit={_LOG_KEPT}", f"cache_size={-_CACHED_KIB}"),
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_WRITING):
            begin_writing_on_sqlite(connection, _WRITER, shown_url(parsed), locks.BUSY_SECONDS)
        else:
            connection.exec_driver_sql("BEGIN DEFERRED")

    return engine


def _prepare_connections(engine: Engine) -> None:
    """Let PostgreSQL compress long values by lz4, where it can, and prepare no statement behind a pooler.

    By its default, pglz, compressing takes a third of the time in which it stores a page of referrals; a value can be
    read whichever way it was compressed. A pooler such as PgBouncer gives one session to several processes in turn, and
    so the statement that another one has prepared under the same name.
    """
    has_lz4 = True

    @event.listens_for(engine, "connect")
    def _prepare(connection: psycopg.Connection[Any], _record: object) -> None:
        nonlocal has_lz4
        connection.autocommit = True
        ours = f"SELECT {WHETHER_OURS}"
        try:
            if has_lz4 and _COMPRESSION not in connection.info.options:
                row = connection.execute(f"{ours}, set_config('{_COMPRESSION}', 'lz4', false)").fetchone()
            else:
                row = connection.execute(ours).fetchone()
        except psycopg.errors.InvalidParameterValue:
            has_lz4 = False
            row = connection.execute(ours).fetchone()
        finally:
            connection.autocommit = False
        if row is None or not row[0]:
            connection.prepare_threshold = None


@contextmanager
def begin_writing(engine: Engine, limits: TimeLimits) -> Iterator[Connection]:
    """Open a transaction that excludes other writers: BEGIN IMMEDIATE on SQLite, an advisory lock on PostgreSQL.

    So what it reads has not changed when it writes. Otherwise a company made from its leads could miss leads that
    another run is writing.
    """
    with engine.connect().execution_options(**{_WRITING: True}) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            lock_on_postgresql(
                connection, _WRITERS, locks.IDLE_SECONDS, _WRITER, shown_url(engine.url), limits.lock_seconds
            )
        yield connection


def _message_without_values(error: BaseException | None) -> str:
    """Return the database's message without any value of a row.

    SQLite's messages name tables and columns only. PostgreSQL quotes the row in detail and context, and the value in
    the first line of errors of class 22 ("Data Exception"). An OperationalError without a code is of the connection.
    """
    if not isinstance(error, psycopg.Error):
        return str(error)
    state = error.sqlstate or ""
    if not state and isinstance(error, psycopg.OperationalError):
        return next(iter(str(error).splitlines()), "no reason given")
    message = error.diag.message_primary
    return f"{message}, {state}" if message and not state.startswith("22") else state or "no code"


def _next_step(error: BaseException | None) -> str | None:
    """Return what a person can do about an error of PostgreSQL that running again does not end; None for others."""
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate or ""
    if state == "42501":
        return "let the database's owner grant the role what it lacks, or name another role"
    if state == "25006":
        return "it can only be read; name the server that is written to, or end its default_transaction_read_only"
    if state.startswith(("22", "54")) or (not state and isinstance(error, psycopg.DataError)):
        return "it cannot hold one of the values; this is a defect, so report it with this message"
    return None


class Warehouse:
    """A warehouse at a URL. `open` makes sure that its schema is the one this code needs."""

    named_by = "HUNTER_DATABASE_URL"
    """What a message names that the address comes from."""

    def __init__(self, url: str, limits: TimeLimits | None = None, keeping: ErasureKeeping | None = None) -> None:
        self.url: Final = url
        self.limits: Final = limits or TimeLimits()
        self.keeping: Final = keeping

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the warehouse that HUNTER_DATABASE_URL names, without a check of its schema."""
        return cls(settings.database_url.get_secret_value(), TimeLimits.of(settings), ErasureKeeping.of(settings))

    @classmethod
    def open(cls, url: str, limits: TimeLimits | None = None, keeping: ErasureKeeping | None = None) -> Self:
        """Open the warehouse at `url` (SQLAlchemy's form), with other limits than the defaults if given.

        Without `keeping`, nothing of Partner Center can be stored once a person was erased.

        A SQLite file is created and migrated where needed. Raises WarehouseError when the database cannot be reached,
        its schema is older or newer than this code, or its tables were made by another program.
        """
        warehouse = cls(url, limits, keeping)
        if not warehouse.is_current():
            if not warehouse.is_sqlite:
                raise WarehouseError(
                    f"the schema of {warehouse.shown} is not the one this version needs; run `partner-center migrate`"
                )
            warehouse.migrate()
        return warehouse

    @cached_property
    def file(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        database = make_url(self.url).database
        return Path(database) if self.is_sqlite and database else None

    @cached_property
    def engine(self) -> Engine:
        """The engine. Its pool belongs to this process: call `dispose` before a fork."""
        engine = build_engine(self.url, self.limits)
        if self.keeping is not None:
            engine.update_execution_options(**{KEEPING: self.keeping})
        return engine

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file."""
        return make_url(self.url).get_backend_name() == "sqlite"

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return shown_url(make_url(self.url))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection for reading, with one snapshot on SQLite. Raises WarehouseError as `write` does."""
        with self.refusals_in_words(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction: everything written inside commits together, or not at all.

        Raises WarehouseError when the database refuses a statement, with the kind of error but without the row.
        """
        with self.refusals_in_words(), begin_writing(self.engine, self.limits) as connection:
            yield connection

    @contextmanager
    def refusals_in_words(self) -> Iterator[None]:
        """Turn a refusal into a WarehouseError that does not quote the row: rows hold personal data."""
        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            what_to_do = _next_step(cause) or (
                "check that the database is reachable, has space and is not locked, then run again"
            )
            raise WarehouseError(
                f"{self.shown} refused a statement ({type(cause).__name__}: {_message_without_values(cause)}); "
                f"nothing of its transaction was kept. {what_to_do[0].upper()}{what_to_do[1:]}"
            ) from None

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    def take_in_log(self) -> None:
        """Take a large write-ahead log of SQLite into the file as far as no reader needs it; wait for nobody.

        The next write then begins the log anew, and cuts its file down.
        """
        log = None if self.file is None else self.file.with_name(f"{self.file.name}-wal")
        if log is not None and log.exists() and log.stat().st_size > _LOG_KEPT:
            with self.refusals_in_words(), self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def is_current(self) -> bool:
        """Say whether the schema is the newest that this code knows.

        Nothing is made: a SQLite file that is not there yet is not current. Raises WarehouseError for an unreachable
        database, a SQLite file in a folder that does not exist, a newer schema, or tables of another program.
        """
        current = self._revision()
        if current is None:
            return False
        known = revisions()
        if current not in known:
            raise WarehouseError(f"{self.shown} was migrated by a newer version of this project; update the project")
        return current == known[0]

    def revision(self) -> str | None:
        """Return the revision of the schema, None where there is none. Raises WarehouseError as `is_current` does."""
        return self._revision()

    def migrate(self, revision: str = "head") -> None:
        """Migrate the schema to `revision` (an Alembic revision, `head`, or `base` for an empty one)."""
        from alembic import command

        self._revision()
        migration = command.downgrade if revision == "base" else command.upgrade
        with self._as_warehouse_error():
            migration(self._alembic(), revision)

    def make_folder(self) -> None:
        """Make the folder of the default SQLite file. Raises WarehouseError for any other that does not exist."""
        if self._is_still_to_be_made() and self.file is not None:
            try:
                self.file.parent.mkdir(exist_ok=True, mode=0o700)
            except OSError as error:
                raise WarehouseError(
                    f"{self.file.parent} cannot be made ({error.strerror}); the home folder must exist and be "
                    f"writable, and {HOME_VARIABLE} names another"
                ) from None

    def _alembic(self) -> Any:
        config = _alembic()
        config.attributes["url"] = self.url
        config.attributes["limits"] = self.limits
        return config

    def _is_still_to_be_made(self) -> bool:
        """Say whether this is a SQLite file that does not exist. Raises WarehouseError when its folder does not."""
        with self._as_warehouse_error():
            if self.file is None or self.file.exists():
                return False
            folder = self.file.parent
            if not folder.is_dir() and folder != home() / OWN_FOLDER:
                raise WarehouseError(
                    f"HUNTER_DATABASE_URL names the file {self.file}, and there is no folder {folder}; correct the "
                    "path, or make the folder"
                )
            return True

    def _revision(self) -> str | None:
        if self._is_still_to_be_made():
            return None
        with self._as_warehouse_error(), self.engine.connect() as connection:
            try:  # as a rule, this statement is enough
                known = connection.execute(_VERSION if self.is_sqlite else _VERSION_AND_MOVE).one_or_none()
            except (OperationalError, ProgrammingError):  # there is no such table, or no connection any more
                known = None
                connection.rollback()
            if known is not None and not known.is_moved:
                return str(known.version_num)
            inspector = inspect(connection)
            present = {*inspector.get_table_names(), *inspector.get_view_names()}
            self._refuse_unfinished_move(present)
        if known is not None:  # a move that is going on with what is there
            return str(known.version_num)
        foreign = sorted(present & set(metadata.tables))
        if foreign:
            raise WarehouseError(
                f"{self.shown} already holds tables that this project did not make: {', '.join(foreign)}; "
                f"name another database or schema in {self.named_by}"
            )
        return None

    def _refuse_unfinished_move(self, present: Collection[str]) -> None:
        """Raise WarehouseError for a database that holds only a part of a SQLite warehouse yet."""
        if UNFINISHED_MOVE in present:
            raise WarehouseError(
                f"a SQLite warehouse is being moved into {self.shown}, and that is not finished; run `partner-center "
                "migrate-warehouse` again, with HUNTER_DATABASE_URL naming the SQLite file until it says Done"
            )

    @contextmanager
    def _as_warehouse_error(self) -> Iterator[None]:
        """Turn a database's error into a WarehouseError. The first line of the driver's message names no password."""
        try:
            yield
        except (DatabaseError, OSError) as error:
            cause = error.orig if isinstance(error, DatabaseError) else error
            reason = next(iter(str(cause).splitlines()), "") or type(cause).__name__
            what_to_do = (
                "check that HUNTER_DATABASE_URL names the right file, that its disk has space and that it may be "
                "written"
                if self.is_sqlite
                else _next_step(cause) or f"check {self.named_by} and that the server runs"
            )
            raise WarehouseError(f"{self.shown} cannot be used ({reason}); {what_to_do}") from None


def _alembic() -> Any:
    from alembic.config import Config

    return Config(SHIPPED / "alembic.ini")


@cache
def revisions() -> tuple[str, ...]:
    """Return the revisions that this code knows, the newest first.

    They are read once in a process: each step of a run opens the warehouse, and reading them takes 10 ms.
    """
    from alembic.script import ScriptDirectory

    return tuple(revision.revision for revision in ScriptDirectory.from_config(_alembic()).walk_revisions())


@contextmanager
def open_warehouse(settings: Settings) -> Iterator[Warehouse]:
    """Open the warehouse that HUNTER_DATABASE_URL names, and close it at the end. Raises what `Warehouse.open` does.

    While `kept_open` holds, the same settings give the same warehouse, whose schema is looked at each time.
    """
    which = (settings.database_url.get_secret_value(), TimeLimits.of(settings), ErasureKeeping.of(settings))
    with _lock:
        kept = _kept.get(which) if _keepers else None
    if kept is not None and kept.is_current():
        yield kept
        return
    warehouse = Warehouse.open(*which)
    with _lock:
        keep = bool(_keepers) and _kept.setdefault(which, warehouse) is warehouse
    try:
        yield warehouse
    finally:
        if not keep:
            warehouse.close()


@contextmanager
def kept_open() -> Iterator[None]:
    """Keep the warehouses that are opened while the block runs open until it ends: for the steps of a run.

    A connection, its engine and the SQL that this compiled are then made once for a run, and not by each step.
    """
    keeper = object()
    with _lock:
        _keepers.append(keeper)
    try:
        yield
    finally:
        with _lock:
            _keepers.remove(keeper)
            ended = [] if _keepers else list(_kept.values())
            if not _keepers:
                _kept.clear()
        for warehouse in ended:
            with suppress(WarehouseError):
                warehouse.take_in_log()
            warehouse.close()


_Which = tuple[str, TimeLimits, ErasureKeeping | None]
_lock: Final = Lock()
_keepers: Final[list[object]] = []
_kept: Final[dict[_Which, Warehouse]] = {}
