"""Opens the warehouse: engine, transactions, and whether the schema fits.

SQLite is migrated by whoever opens it first; PostgreSQL only by `partner-center migrate`, because a schema that others
share is changed on purpose. Both refuse a database whose tables are of other origin.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import orjson
import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, make_url, select, text
from sqlalchemy.exc import DatabaseError, DBAPIError

from partner_center_pipeline.settings import PROJECT_ROOT, Settings
from partner_center_pipeline.warehouse.schema import VERSION_TABLE, metadata

_BEGIN: Final = "sqlite_begin"
_BUSY_SECONDS: Final = 60
_WAL_PAGES: Final = 32_000
"""How far SQLite's log grows before it is taken into the file: 128 MB. By its own measure, 4 MB, it takes the same
pages of indexes in again and again while a load commits page by page."""

_WRITERS: Final = 0x70_61_72_74_6E_65_72
"""The key of the advisory lock that PostgreSQL's writers take: the word "partner"."""
_LOCK: Final = select(
    func.pg_advisory_xact_lock(_WRITERS), func.set_config("plan_cache_mode", "force_custom_plan", True)
)
"""Takes the lock, and has each statement of the transaction planned for what its tables hold by now: a load makes them
a thousand times larger, and a plan kept from its beginning reads all of a table for each page."""


class WarehouseError(Exception):
    """The warehouse cannot be used as it is. The message says why and what to do."""


class JsonText(str):
    """A value for a JSON column that is JSON already, so that it need not be written as such once more."""

    __slots__ = ()


def _dumps(value: Any) -> str:
    return value if isinstance(value, JsonText) else orjson.dumps(value).decode()


def build_engine(url: str) -> Engine:
    """An engine over a SQLite file or PostgreSQL.

    SQLite writers begin with BEGIN IMMEDIATE and wait up to 60 s: SQLAlchemy's default lost updates and a deferred
    BEGIN fails with "database is locked" (measured: dagster.md, "SQLite warehouse").
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(
            parsed,
            json_serializer=_dumps,
            json_deserializer=orjson.loads,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(
        parsed,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        hide_parameters=True,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"wal_autocheckpoint={_WAL_PAGES}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'DEFERRED')}")

    return engine


@contextmanager
def begin_writing(engine: Engine) -> Iterator[Connection]:
    """A transaction beside which no other writes: BEGIN IMMEDIATE on SQLite, an advisory lock on PostgreSQL.

    What it reads is still so when it writes; a company made from its leads would else miss the leads that another run
    is writing.
    """
    with engine.connect().execution_options(**{_BEGIN: "IMMEDIATE"}) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(_LOCK)
        yield connection


def _safe_words(error: BaseException | None) -> str:
    """What a database says that holds no value of a row.

    SQLite names tables and columns only. PostgreSQL quotes the row in its detail and context, and the value in the
    first line of class 22 ("Data Exception") of its error codes.
    """
    if not isinstance(error, psycopg.Error):
        return str(error)
    state = error.sqlstate or ""
    words = error.diag.message_primary
    return f"{words}, {state}" if words and not state.startswith("22") else state or "no code"


class Warehouse:
    """An open warehouse whose schema fits this code."""

    def __init__(self, url: str) -> None:
        self.url: Final = url

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the warehouse that HUNTER_DATABASE_URL names, whether its schema fits or not."""
        return cls(settings.database_url.get_secret_value())

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the warehouse at `url` (SQLAlchemy's form).

        A SQLite file is made and migrated where needed. Raises WarehouseError when the database cannot be reached, its
        schema is older or newer than this code, or its tables are of other origin.
        """
        warehouse = cls(url)
        if not warehouse.is_current():
            if not warehouse.is_sqlite:
                raise WarehouseError(
                    f"the schema of {warehouse.shown} is not the one this version needs; run `partner-center migrate`"
                )
            warehouse.migrate()
        return warehouse

    @cached_property
    def engine(self) -> Engine:
        """The engine. Its pool belongs to this process: `dispose` it before a fork."""
        return build_engine(self.url)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file."""
        return make_url(self.url).get_backend_name() == "sqlite"

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return make_url(self.url).render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, with one snapshot on SQLite. Raises WarehouseError as `write` does."""
        with self._discreet(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: everything written inside commits together, or not at all.

        Raises WarehouseError when the database refuses, with what kind of refusal it is but without the row.
        """
        with self._discreet(), begin_writing(self.engine) as connection:
            yield connection

    @contextmanager
    def _discreet(self) -> Iterator[None]:
        """Say of a refusal what it is, and leave out what quotes the row at fault: rows hold personal data."""
        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise WarehouseError(
                f"{self.shown} refused a statement ({type(cause).__name__}: {_safe_words(cause)}); nothing of its "
                "transaction was kept. Check that the database is reachable, has space and is not locked, then run "
                "again"
            ) from None

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    def is_current(self) -> bool:
        """Whether the schema is exactly the newest that this code knows.

        Raises WarehouseError for an unreachable database, a newer schema, or foreign tables.
        """
        from alembic.script import ScriptDirectory

        script = ScriptDirectory.from_config(self._alembic())
        found = self._revision()
        if found is None:
            return False
        if found not in {revision.revision for revision in script.walk_revisions()}:
            raise WarehouseError(f"{self.shown} was migrated by a newer version of this project; update the project")
        return found == script.get_current_head()

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema to `revision` (an Alembic revision, `head`, or `base` for an empty one)."""
        from alembic import command

        self._revision()
        step = command.downgrade if revision == "base" else command.upgrade
        with self._for_people():
            step(self._alembic(), revision)

    def _alembic(self) -> Any:
        from alembic.config import Config

        config = Config(PROJECT_ROOT / "alembic.ini")
        config.attributes["url"] = self.url
        return config

    def _revision(self) -> str | None:
        with self._for_people(), self.engine.connect() as connection:
            present = set(inspect(connection).get_table_names())
            if VERSION_TABLE in present:
                rows = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608  a constant
                found = rows.scalar_one_or_none()
                if found is not None:
                    return str(found)
        foreign = sorted(present & set(metadata.tables))
        if foreign:
            raise WarehouseError(
                f"{self.shown} already holds tables that this project did not make: {', '.join(foreign)}; "
                "name another database or schema in HUNTER_DATABASE_URL"
            )
        return None

    @contextmanager
    def _for_people(self) -> Iterator[None]:
        """What the database refuses, in words. The driver's own first line names no password."""
        try:
            yield
        except (DatabaseError, OSError) as error:
            cause = error.orig if isinstance(error, DatabaseError) else error
            reason = next(iter(str(cause).splitlines()), "") or type(cause).__name__
            raise WarehouseError(
                f"{self.shown} cannot be used ({reason}); check HUNTER_DATABASE_URL and that the server runs"
            ) from None


@contextmanager
def open_warehouse(settings: Settings) -> Iterator[Warehouse]:
    """Open the warehouse that HUNTER_DATABASE_URL names, and close it at the end. Raises what `Warehouse.open` does."""
    warehouse = Warehouse.open(settings.database_url.get_secret_value())
    try:
        yield warehouse
    finally:
        warehouse.close()
