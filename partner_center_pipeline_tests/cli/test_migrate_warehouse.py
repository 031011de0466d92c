"""`partner-center migrate-warehouse`: every row of every table is in PostgreSQL afterwards, wherever it was killed."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    Table,
    Text,
    insert,
    inspect,
    make_url,
    select,
    text,
)

from partner_center_pipeline.cli.base import alone
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import moving, schema
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline.warehouse.schema import UNFINISHED_MOVE, metadata
from partner_center_pipeline_tests.cli.commands import clean_environment, run
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.conftest import PostgresServer, SqliteFiles
from partner_center_simulator import Simulator

ROWS: Final = 7
"""Rows of each table: with chunks of three, three chunks."""
AT: Final = datetime(2026, 11, 28, 22, 15, 0, 123456, tzinfo=UTC)
TEXTS: Final = ("Şişli İnşaat", "a\tb\\c\n", "", "ı", "Z", "a", "\U0001f3e2")
DOCUMENTS: Final[tuple[Any, ...]] = (
    {"b": 1, "a": [1.5, 1e5, 1e22, 1e23, 2.0**64, 1.7976931348623157e308, -0.0, 5e-324, 1e-7, 12345678901234]},
    [],
    "text",
    {"İ": "ş\n", "nested": {"z": None, "y": True}},
    {"amount": 0.1, "exact": 100.0},
    [{"b": 2, "a": 1}],
    {"number": 17},
)

pytestmark = [pytest.mark.slow, pytest.mark.postgres]


def value_of(column: Column[Any], number: int) -> Any:
    """A value for a column, another one in each row; empty now and then where it may be."""
    if column.nullable and number % 3 == 1:
        return None
    if column.foreign_keys:
        return f"company{number}.com"
    unique = column.primary_key
    kind = column.type
    match kind:
        case JSON():
            return DOCUMENTS[number % len(DOCUMENTS)]
        case Boolean():
            return number % 2 == 0
        case Integer():
            return 2**31 - 1 - number if not unique else 100 + number
        case Float():
            return number + 0.1
        case LargeBinary():
            return bytes([0, 255, number])
        case Text():
            if column.table.name == "companies" and column.name == "domain":
                return f"company{number}.com"
            return f"{TEXTS[number % len(TEXTS)]}{number}" if unique else TEXTS[number % len(TEXTS)]
        case schema.Rate() | schema.Money():
            return Decimal("0.0237654321987") + number if isinstance(kind, schema.Rate) else Decimal("1234.57") * number
        case schema.UtcDateTime():
            return AT + timedelta(microseconds=number)
        case Numeric() | DateTime():
            raise AssertionError(f"{column} has a type that is not the project's own")
    raise AssertionError(f"{column} has a type of which this test knows no value: {kind!r}")


def keys_of(table: Table) -> Iterator[int]:
    """As many numbers of rows as the table's key has values for."""
    keys = list(table.primary_key)
    return iter(range(2 if all(isinstance(key.type, Boolean) for key in keys) else ROWS))


def filled(url: str) -> Warehouse:
    """A warehouse with rows in every table that the schema has, whichever those are."""
    warehouse = Warehouse.open(url)
    with warehouse.write() as connection:
        for table in metadata.sorted_tables:
            rows = [{column.name: value_of(column, number) for column in table.columns} for number in keys_of(table)]
            connection.execute(insert(table), rows)
        connection.execute(schema.leases.update().values(expires_at=AT))
    return warehouse


def rows_of(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, as the program reads it; rates as PostgreSQL keeps them."""
    with warehouse.read() as connection:
        return {
            name: sorted((tuple(map(as_kept, row)) for row in connection.execute(select(table))), key=repr)
            for name, table in metadata.tables.items()
        }


def as_kept(value: Any) -> Any:
    return round(value, 10).normalize() if isinstance(value, Decimal) else value


@pytest.fixture
def embedded(home: Path, sqlite: SqliteFiles) -> Iterator["Embedded"]:
    """An installation with a SQLite warehouse that has rows in every table, as a killed process left it."""
    made = filled(sqlite.migrated())
    assert made.file is not None
    for ending in ("", "-wal"):  # the log holds the rows: nobody has written it into the file
        shutil.copyfile(f"{made.file}{ending}", home / f"hunter.db{ending}")
    made.close()
    place = Embedded(home, Warehouse(f"sqlite:///{home / 'hunter.db'}"))
    yield place
    place.warehouse.close()


class Embedded(Home):
    """A home folder with a SQLite warehouse, whose file is compared byte by byte."""

    def __init__(self, path: Path, warehouse: Warehouse) -> None:
        super().__init__(path)
        self.warehouse = warehouse
        self.edit_env(HUNTER_DATABASE_URL=warehouse.url)

    @property
    def bytes(self) -> list[bytes]:
        """What is in the SQLite file, and in its log."""
        assert self.warehouse.file is not None
        log = self.warehouse.file.with_name(self.warehouse.file.name + "-wal")
        return [self.warehouse.file.read_bytes(), log.read_bytes() if log.exists() else b""]

    def moved(self, url: str, *options: str) -> dict[str, Any]:
        """Move the warehouse, and return what the command says in JSON."""
        done = self.invoke("migrate-warehouse", "--to", url, "--json", *options)
        assert done.exit_code == 0, done.output
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def refused(self, url: str, *options: str) -> str:
        """What the command says that moves nothing, on one line."""
        done = self.invoke("migrate-warehouse", "--to", url, *options)
        assert done.exit_code == 1, done.output
        assert "Traceback" not in done.output
        return " ".join(done.stderr.split())


def test_every_row_of_every_table_is_moved_and_the_old_file_stays_byte_for_byte(
    embedded: Embedded, postgres: PostgresServer
) -> None:
    before, url = embedded.bytes, postgres.empty()
    assert all(before)
    planned = embedded.moved(url, "--dry-run")
    assert Warehouse(url).revision() is None
    assert {name: one["rows"] for name, one in planned["tables"].items()} == {
        table.name: len(list(keys_of(table))) for table in metadata.tables.values()
    }

    said = embedded.moved(url)
    assert embedded.bytes == before
    target = Warehouse.open(url)
    assert rows_of(target) == rows_of(embedded.warehouse)
    assert set(said["tables"]) == set(metadata.tables)
    assert len({one["checksum"] for one in said["tables"].values()}) == len(metadata.tables)
    assert f"set HUNTER_DATABASE_URL={target.shown}" in said["next"]
    assert "Keep the sync off until then" in said["next"]
    with target.read() as connection:
        assert UNFINISHED_MOVE not in inspect(connection).get_table_names()
    # Again, it compares and does nothing; with other rows there, it is refused.
    again = embedded.moved(url)
    assert again["tables"] == said["tables"]
    assert again["rows_there_before"] == sum(one["rows"] for one in said["tables"].values())
    with target.write() as connection:
        connection.execute(schema.breakers.update().where(schema.breakers.c.failures > 0).values(reason="another"))
    assert "holds other data already, in breakers" in embedded.refused(url)
    target.close()


def test_numbers_go_on_after_the_highest_that_was_moved(embedded: Embedded, postgres: PostgresServer) -> None:
    url = postgres.migrated()
    with embedded.warehouse.write() as connection:
        connection.execute(schema.erasures.delete())
    embedded.moved(url)
    target = Warehouse.open(url)
    numbered = [table for table in metadata.sorted_tables if table.autoincrement_column is not None]
    assert len(numbered) >= 6
    with target.write() as connection:
        for table in numbered:
            row = {
                column.name: value_of(column, 0) for column in table.columns if column is not table.autoincrement_column
            }
            number = connection.execute(insert(table).values(row)).inserted_primary_key
            assert number is not None
            assert number[0] == (1 if table is schema.erasures else 100 + ROWS), table.name
    target.close()


KILLED: Final = """
import os, signal, sys
from partner_center_pipeline.cli import main
from partner_center_pipeline.warehouse import moving

name, calls = sys.argv[1], int(sys.argv[2])
moving.CHUNK_ROWS = 3
original, before = getattr(moving, name), [0]

def killing(*arguments, **named):
    before[0] += 1
    if before[0] == calls:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)

setattr(moving, name, killing)
main(sys.argv[3:])
"""
MOMENTS: Final = [
    ("_write_chunk", 1),
    ("_write_chunk", 2),
    ("_noted", 5),
    ("summed", 20),
    ("_finish", 1),
]
"""Functions of `moving`, and at which call the process is killed: before the rows, between chunks, inside the
transaction of one, in the compare step, and before the last transaction."""


def test_a_move_killed_at_any_moment_goes_on_and_moves_each_row_once(
    embedded: Embedded, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, url = embedded.bytes, postgres.migrated()
    there = []
    for name, calls in MOMENTS:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, name, str(calls), "migrate-warehouse", "--to", url, "--json"],
            env=clean_environment(embedded.path),
            capture_output=True,
            text=True,
        )
        assert done.returncode == -signal.SIGKILL, (name, done.stderr)
        there.append(embedded.moved(url, "--dry-run")["rows_there_before"])
        with pytest.raises(WarehouseError, match=r"being moved into .* run `partner-center migrate-warehouse`"):
            Warehouse.open(url)
    assert there[:3] == [0, 3, 10]  # the rows of a transaction that was ended are not there
    assert there[3] == there[4] == sum(len(list(keys_of(table))) for table in metadata.sorted_tables)
    monkeypatch.setattr(moving, "_write_chunk", None)  # all rows are there, and are not copied again
    embedded.moved(url)
    assert embedded.bytes == before
    target = Warehouse.open(url)
    assert rows_of(target) == rows_of(embedded.warehouse)
    target.close()


def test_what_changed_in_the_file_between_two_tries_is_copied_anew(
    embedded: Embedded, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.migrated()
    with monkeypatch.context() as patch:
        patch.setattr(moving, "_finish", lambda _: (_ for _ in ()).throw(WarehouseError("ended")))
        assert "ended" in embedded.refused(url)
    with embedded.warehouse.write() as connection:
        domain = schema.companies.c.domain
        connection.execute(schema.companies.update().where(domain == "company2.com").values(name="New"))
        connection.execute(schema.companies.delete().where(domain == "company3.com"))
        connection.execute(schema.demo_world.delete())
    embedded.warehouse.close()
    embedded.moved(url)
    target = Warehouse.open(url)
    assert rows_of(target) == rows_of(embedded.warehouse)
    target.close()


def end_before(last: Table, patch: pytest.MonkeyPatch) -> None:
    """Let a move end as it comes to a table."""
    original = moving._write_chunk

    def ending(target: moving.MoveTarget, table: Table, *arguments: Any) -> None:
        if table is last:
            raise WarehouseError("ended")
        original(target, table, *arguments)

    patch.setattr(moving, "_write_chunk", ending)


@pytest.mark.parametrize("at", range(7))
def test_rows_that_came_meanwhile_and_refer_to_one_another_are_moved(
    embedded: Embedded, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Wherever the first try ended: a table that is whole may lack what the next one refers to."""
    url = postgres.migrated()
    following = [table for table in metadata.sorted_tables if table.foreign_keys or table is schema.companies]
    with monkeypatch.context() as patch:
        end_before(following[at], patch)
        assert "ended" in embedded.refused(url)
    with embedded.warehouse.write() as connection:
        for table in (schema.companies, *(each for each in following if each is not schema.companies)):
            row = {column.name: value_of(column, 100) for column in table.columns}
            connection.execute(insert(table).values(row))
    embedded.warehouse.close()
    embedded.moved(url)
    target = Warehouse.open(url)
    assert rows_of(target) == rows_of(embedded.warehouse)
    target.close()


def test_a_move_goes_on_after_an_upgrade_that_fills_tables(
    embedded: Embedded, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target of an earlier try is migrated with what it holds, and a migration may add rows there."""
    url = postgres.empty()
    Warehouse(url).migrate("0013")
    with monkeypatch.context() as patch:
        end_before(schema.company_scores, patch)
        patch.setattr(Warehouse, "is_current", lambda _: True)
        assert "ended" in embedded.refused(url)
    embedded.moved(url)
    target = Warehouse.open(url)
    assert rows_of(target) == rows_of(embedded.warehouse)
    target.close()


def test_rows_that_the_tables_refuse_are_named_and_not_tried_for_ever(
    embedded: Embedded, postgres: PostgresServer
) -> None:
    """A file that somebody edited by hand may hold what no program of ours stores."""
    url = postgres.empty()
    embedded.warehouse.close()
    with closing(sqlite3.connect(embedded.path / "hunter.db")) as connection, connection:  # it keeps no foreign keys
        connection.execute("DELETE FROM companies WHERE domain = 'company3.com'")
    said = embedded.refused(url)
    assert "cannot be copied: a row refers to one that is not there, or is there twice" in said
    assert "fk_" in said
    assert "company3" not in said


def test_a_file_that_is_written_to_meanwhile_is_noticed(
    embedded: Embedded, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, url = moving._write_chunk, postgres.migrated()

    def writing(*arguments: Any) -> None:
        monkeypatch.setattr(moving, "_write_chunk", original)
        with embedded.warehouse.write() as connection:
            connection.execute(schema.demo_world.delete())
        original(*arguments)

    monkeypatch.setattr(moving, "_write_chunk", writing)
    assert "was written to while it was moved; stop `partner-center ui`" in embedded.refused(url)
    embedded.moved(url)


def test_what_differs_after_the_copy_is_named_and_the_target_is_no_warehouse(
    embedded: Embedded, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, original = postgres.migrated(), moving._copy

    def changing(*arguments: Any) -> None:
        original(*arguments)
        with moving.MoveTarget(url).write() as connection:
            connection.execute(schema.breakers.update().values(reason="another"))

    monkeypatch.setattr(moving, "_copy", changing)
    said = embedded.refused(url)
    assert "does not hold what" in said
    assert "in breakers; the old file is as it was" in said
    with pytest.raises(WarehouseError, match="is not finished"):
        Warehouse.open(url)


def test_a_target_that_cannot_take_the_rows_is_refused_with_the_next_step(
    embedded: Embedded, postgres: PostgresServer, sqlite: SqliteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, held = embedded.bytes, postgres.migrated()
    other = Warehouse(held)
    with other.write() as connection:
        connection.execute(insert(schema.breakers).values(name="fetch", failures=1))
    assert "holds other data already, in breakers; nothing was changed. Name an empty" in embedded.refused(held)
    with monkeypatch.context() as patch:  # somebody filled it after it was looked at
        patch.setattr(moving, "planned", lambda *_: moving.Plan({}, 0, is_unfinished=False))
        assert "holds other data already, in breakers" in embedded.refused(held)
    with other.write() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    assert "was migrated by a newer version of this project" in embedded.refused(held)
    other.close()

    foreign = postgres.empty()
    postgres.run("CREATE TABLE leads (id INTEGER)", str(make_url(foreign).database))
    assert "name another database or schema in --to" in embedded.refused(foreign)

    latin = postgres.empty()
    postgres.run(f"DROP DATABASE {make_url(latin).database}")
    postgres.run(
        f"CREATE DATABASE {make_url(latin).database} TEMPLATE template0 ENCODING LATIN5 LOCALE_PROVIDER libc LOCALE 'C'"
    )
    assert "has the encoding LATIN5" in embedded.refused(latin)

    assert "--to names a SQLite file" in embedded.refused(sqlite.empty())
    assert "cannot be used" in (said := embedded.refused("postgresql://nobody:secret@127.0.0.1:1/none"))
    assert "check --to" in said
    assert "secret" not in said
    assert embedded.bytes == before


def test_a_role_without_the_rights_is_refused_before_anything_is_copied(
    embedded: Embedded, postgres: PostgresServer
) -> None:
    url = postgres.empty()
    name = str(make_url(url).database)
    postgres.run(f"CREATE ROLE weak{name} LOGIN")
    weak = make_url(url).set(username=f"weak{name}").render_as_string(hide_password=False)
    for options in (["--dry-run"], []):
        said = embedded.refused(weak, *options)
        assert f"role weak{name} may not make tables in the schema public" in said
        assert f"GRANT CREATE ON SCHEMA public TO weak{name}" in said
        assert "Nothing was changed" in said

    Warehouse(url).migrate()
    postgres.run(f"GRANT CREATE ON SCHEMA public TO weak{name}", name)
    postgres.run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO weak{name}", name)
    for options in (["--dry-run"], []):
        said = embedded.refused(weak, *options)
        assert f"the tables in it belong to postgres, and the role weak{name} is not" in said

    postgres.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    for options in (["--dry-run"], []):
        assert "can only be read" in embedded.refused(url, *options)
    postgres.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    embedded.moved(url)
    postgres.run(f"DROP OWNED BY weak{name}", name)
    postgres.run(f"DROP ROLE weak{name}")


def test_a_view_of_another_program_with_the_name_of_a_table_is_refused(
    embedded: Embedded, postgres: PostgresServer
) -> None:
    url = postgres.empty()
    postgres.run("CREATE VIEW leads AS SELECT 1 AS id", str(make_url(url).database))
    for options in (["--dry-run"], []):
        said = embedded.refused(url, *options)
        assert "already holds tables that this project did not make: leads" in said
        assert "name another database or schema in --to" in said


def test_two_moves_into_one_database_do_not_disturb_each_other(
    embedded: Embedded, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From two home folders, or two machines, that have the same file."""
    url, original, said = postgres.migrated(), moving._write_chunk, list[str]()

    def as_another_begins(*arguments: Any) -> None:
        monkeypatch.setattr(moving, "_write_chunk", original)
        with moving.opened_source(embedded.path / "hunter.db") as source:
            other = moving.MoveTarget(url)
            with pytest.raises(WarehouseError) as caught:
                moving.move(source, other, moving.planned(source, other), lambda *_: None)
            other.close()
        said.append(str(caught.value))
        original(*arguments)

    monkeypatch.setattr(moving, "_write_chunk", as_another_begins)
    embedded.moved(url)
    assert len(said) == 1
    assert "another move into" in said[0]
    assert "wait until it has ended" in said[0]
    target = Warehouse.open(url)
    assert rows_of(target) == rows_of(embedded.warehouse)
    target.close()


def test_a_move_that_is_no_longer_alone_ends_before_it_says_done(
    embedded: Embedded, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is gone with the connection that held it, and another move may have begun since."""
    url, original = postgres.migrated(), moving._compared
    name = make_url(url).database

    def as_connections_end(*arguments: Any) -> Any:
        postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(moving, "_compared", as_connections_end)
        assert "run again" in embedded.refused(url)
    embedded.moved(url)


def test_ctrl_c_says_that_the_same_command_goes_on(
    embedded: Embedded, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(moving, "_compared", interrupted)
    url = postgres.migrated()
    assert "What was copied stays; run the same command again, and it goes on" in embedded.refused(url)


def test_a_file_that_cannot_be_moved_is_refused_with_the_next_step(
    embedded: Embedded, postgres: PostgresServer, sqlite: SqliteFiles
) -> None:
    url = postgres.migrated()
    lease = Lease(embedded.warehouse, "a-run", lambda: datetime.now(UTC))
    lease.acquire(0, time.sleep)
    assert "run a-run is fetching from Partner Center since" in embedded.refused(url)
    lease.release()
    with alone("ui", "the UI", "at a port"):
        assert "partner-center ui runs on the home folder" in embedded.refused(url)
    with embedded.warehouse.write() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0008'"))
    assert "has the schema 0008" in (said := embedded.refused(url))
    assert "run `partner-center migrate`" in said
    with embedded.warehouse.write() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    assert "was migrated by a newer version" in embedded.refused(url)
    embedded.edit_env(HUNTER_DATABASE_URL=sqlite.empty())
    assert "there is no warehouse to move" in embedded.refused(url)
    embedded.edit_env(HUNTER_DATABASE_URL=url)
    assert "names PostgreSQL already" in embedded.refused(url)


def test_the_next_sync_goes_on_in_the_new_database_and_fetches_nothing_twice(
    ready: Home, microsoft: Simulator, postgres: PostgresServer
) -> None:
    assert run(ready.path, "sync").returncode == 0
    old, url = Warehouse(Settings.load().database_url.get_secret_value()), postgres.empty()
    before = rows_of(old)
    assert ready.invoke("migrate-warehouse", "--to", url).exit_code == 0
    ready.edit_env(HUNTER_DATABASE_URL=url)
    synced = run(ready.path, "sync", "--json")
    assert synced.returncode == 0, synced.stderr
    target = Warehouse.open(url)
    after = rows_of(target)
    new = set(after["sync_attempts"]) - set(before["sync_attempts"])
    assert not {attempt[1:3] for attempt in new} & {window[:2] for window in before["sync_windows"]}
    assert {row[:2] for row in after["raw_referrals"]} >= {row[:2] for row in before["raw_referrals"]}
    assert len(before["raw_referrals"]) > 100
    target.close()
    old.close()
