"""The warehouse as one file, and back: a copy of a SQLite file, a dump of PostgreSQL by its own programs.

Not here: what else is in a backup (`cli.backup_folder`).
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import Connection, func, inspect, make_url, select, text
from sqlalchemy.engine import Dialect

from partner_center_pipeline.warehouse.copies import Progress, copy_file, sync_to_disk
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.readers import keeping_view_rights
from partner_center_pipeline.warehouse.schema import VERSION_TABLE, metadata
from partner_center_pipeline.warehouse.views import VIEWS

_LONGEST_SECONDS: Final = 6 * 3600
"""Seconds after which a program of PostgreSQL's is ended."""
_IN_USE_SECONDS: Final = 5.0
"""Seconds that a SQLite file may be in use before it is not replaced."""
_PACKAGE: Final = "postgresql-client (Debian, Ubuntu), postgresql (Fedora, Homebrew)"


def file_name(warehouse: Warehouse) -> str:
    """Return the name of the warehouse's file in a backup."""
    return "warehouse.db" if warehouse.is_sqlite else "warehouse.dump"


def dump(warehouse: Warehouse, target: Path, progress: Progress | None = None) -> dict[str, int]:
    """Write the warehouse to a file as it is at one moment, while others write. Return the rows of each table in it.

    The file has mode 0600. Raises WarehouseError when that is not possible, for a SQLite file that is damaged, and when
    a program of PostgreSQL's is missing.
    """
    if warehouse.file is not None:
        copy_file(warehouse.file, target, progress)
        _refuse_damaged(target)
        with closing(sqlite3.connect(target)) as copy:
            return {
                name: copy.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608  a table's name
                for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
                if name in _TABLES
            }
    with warehouse.read() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        schema = connection.execute(text("SELECT current_schema()")).scalar_one()
        present = _present(connection)
        names = [sql.Identifier(schema, name).as_string(None) for name in present]
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _run(
            warehouse,
            "pg_dump", "--format=custom", "--no-owner", "--no-acl", f"--snapshot={snapshot}",
            f"--lock-wait-timeout={warehouse.limits.lock_seconds}s", f"--file={target}",
            *(f"--table={name}" for name in names),
        )  # fmt: skip
        sync_to_disk(target)
        return _counted(connection, present)


def schema_of(warehouse: Warehouse) -> str | None:
    """Return the name of PostgreSQL's schema that holds the warehouse; None on SQLite."""
    if warehouse.is_sqlite:
        return None
    with warehouse.read() as connection:
        return str(connection.execute(text("SELECT current_schema()")).scalar_one())


def is_empty(warehouse: Warehouse) -> bool:
    """Say whether nothing of the project is in the database: no SQLite file, or none of its tables."""
    if warehouse.file is not None:
        return not warehouse.file.exists()
    with warehouse.read() as connection:
        return not _present(connection)


def load(source: Path, warehouse: Warehouse) -> dict[str, int]:
    """Put a dump in the place of what the database holds; return the rows of each table.

    On both databases it happens as a whole or not at all. Raises WarehouseError when that is not possible, also while
    another process has the SQLite file open.
    """
    if warehouse.file is not None:
        return _load_file(source, warehouse, warehouse.file)
    with TemporaryDirectory() as folder, warehouse.engine.begin() as connection, keeping_view_rights(connection):
        script = Path(folder) / "restore.sql"
        _run(warehouse, "pg_restore", "--no-owner", "--no-acl", f"--file={script}", str(source), is_connecting=False)
        emptying = Path(folder) / "empty.sql"
        emptying.write_text("\n".join(_drops(connection)), encoding="utf-8")
        # One transaction of psql's: pg_restore's own would meet tables that are not in the dump.
        _run(
            warehouse,
            "psql", "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null",
            f"--file={emptying}", f"--file={script}",
        )  # fmt: skip
    with warehouse.read() as connection:
        return _counted(connection, _present(connection))


def refuse_missing_programs(warehouse: Warehouse, *names: str) -> None:
    """Raise WarehouseError where a program of PostgreSQL's that is needed is not on PATH."""
    for name in () if warehouse.is_sqlite else names:
        _program(name)


_TABLES: Final = {*metadata.tables, VERSION_TABLE}


def _refuse_damaged(file: Path) -> None:
    try:
        with closing(sqlite3.connect(file)) as connection:
            said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        raise WarehouseError(
            f"the SQLite file of {file} is damaged ({said}); restore an earlier backup, or ask for help with SQLite's "
            "`.recover`"
        )


def _load_file(source: Path, warehouse: Warehouse, target: Path) -> dict[str, int]:
    _refuse_damaged(source)
    warehouse.make_folder()
    warehouse.close()
    new = target.with_name(target.name + ".restored")
    copy_file(source, new)
    try:
        if target.exists():
            _refuse_in_use(target)
        # A log that belongs to the former file would be replayed into the new one.
        for ending in ("-wal", "-shm"):
            target.with_name(target.name + ending).unlink(missing_ok=True)
        new.replace(target)
        sync_to_disk(target.parent)
    finally:
        new.unlink(missing_ok=True)
    with warehouse.read() as connection:
        return _counted(connection, _present(connection))


def _refuse_in_use(file: Path) -> None:
    """Write the log of a SQLite file into it and delete it, which only the one process can that has the file open."""
    try:
        with closing(sqlite3.connect(file, timeout=_IN_USE_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError as error:
        raise WarehouseError(
            f"{file} is in use ({error}); stop `partner-center ui` and what else works with it, then run again"
        ) from None
    except sqlite3.DatabaseError:
        return  # it is damaged, which may be why it is replaced


def _present(connection: Connection) -> list[str]:
    """Return which tables and views of the project are there, the views last, in the order in which they are made."""
    found = inspect(connection)
    tables = sorted(set(found.get_table_names()) & _TABLES)
    there = set(found.get_view_names())
    return [*tables, *(view.name for view in VIEWS if view.name in there)]


def _counted(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    return {
        name: connection.execute(select(func.count()).select_from(text(f'"{name}"'))).scalar_one()
        for name in names
        if name in _TABLES
    }


def _drops(connection: Connection) -> Iterator[str]:
    """Yield the statements that empty the schema of what is the project's."""
    schema = connection.execute(text("SELECT current_schema()")).scalar_one()
    present = _present(connection)
    for name in reversed([name for name in present if name not in _TABLES]):
        yield sql.SQL("DROP VIEW {};").format(sql.Identifier(schema, name)).as_string(None)
    tables = [sql.Identifier(schema, name) for name in present if name in _TABLES]
    if tables:
        yield sql.SQL("DROP TABLE {};").format(sql.SQL(", ").join(tables)).as_string(None)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise WarehouseError(
            f"the program {name} is not on PATH; it comes with the package {_PACKAGE}. Install one that is as new "
            "as the server or newer, then run again"
        )
    return found


def _run(warehouse: Warehouse, program: str, *arguments: str, is_connecting: bool = True) -> None:
    """Run a program of PostgreSQL's. Raises WarehouseError with the last line that it said when it fails."""
    connection, environment = _connection(warehouse) if is_connecting else ([], {})
    command = [_program(program), *arguments, *connection]
    try:
        done = subprocess.run(  # noqa: S603  a program that was found, and arguments of our own
            command,
            env={**os.environ, **environment, "PGAPPNAME": "partner-center", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LONGEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WarehouseError(f"{program} was ended after {_LONGEST_SECONDS // 3600} hours") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error:" in line.lower()] or done.stderr.splitlines()
        reason = lines[0] if lines else f"exit code {done.returncode}"
        raise WarehouseError(f"{program} failed for {warehouse.shown}: {reason}. Nothing was changed")


def _connection(warehouse: Warehouse) -> tuple[list[str], Mapping[str, str]]:
    """Return the arguments and the environment by which a program of PostgreSQL's connects as the warehouse does.

    The password is not among the arguments, which other users of the machine see.
    """
    dialect: Dialect = make_url(warehouse.url).get_dialect()()
    _, parameters = dialect.create_connect_args(make_url(warehouse.url))
    words: dict[str, Any] = {**warehouse.limits.parameters, **parameters}
    password = words.pop("password", None)
    words.pop("context", None)
    options = str(words.pop("options", ""))
    info = psycopg.conninfo.make_conninfo(**words)
    environment = {"PGOPTIONS": options} | ({"PGPASSWORD": str(password)} if password else {})
    return [f"--dbname={info}"], environment
