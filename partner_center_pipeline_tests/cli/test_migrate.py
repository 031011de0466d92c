"""`partner-center migrate` on SQLite and on PostgreSQL."""

import re
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from partner_center_pipeline.warehouse import companies, schema
from partner_center_pipeline.warehouse.copies import FOLDER, size_of
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline_tests.cli.commands import run
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.cli.small_disk import run_on_small_disk
from partner_center_pipeline_tests.conftest import SqliteFiles
from partner_center_pipeline_tests.warehouse.rows import company


def test_it_makes_the_tables_and_then_has_nothing_to_do(home: Path, database_url: str) -> None:
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=database_url)
    first = place.invoke("migrate")
    assert first.exit_code == 0, first.output
    assert first.stdout.strip().endswith("is up to date now.")
    assert Warehouse(database_url).is_current()
    second = place.invoke("migrate")
    assert second.exit_code == 0
    assert second.stdout.strip().endswith("is up to date.")


def test_tables_of_other_origin_are_refused_by_name(home: Path, database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE leads (id INTEGER PRIMARY KEY)"))
    engine.dispose()
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=database_url)
    shown = place.invoke("migrate")
    assert shown.exit_code == 1
    assert "tables that this project did not make: leads" in shown.stderr
    assert "HUNTER_DATABASE_URL" in shown.stderr


@pytest.fixture
def older(home: Path, sqlite: SqliteFiles) -> Warehouse:
    """A SQLite warehouse of an earlier version with a row, in `.env`."""
    warehouse = Warehouse(sqlite.empty())
    warehouse.migrate("0008")
    with warehouse.write() as connection:
        connection.execute(schema.companies.insert(), [company("a.com")])
    warehouse.close()
    Home(home).edit_env(HUNTER_DATABASE_URL=warehouse.url)
    return warehouse


def copies_of(warehouse: Warehouse) -> list[Path]:
    assert warehouse.file is not None
    return sorted((warehouse.file.parent / FOLDER).iterdir())


@pytest.mark.slow
def test_a_sqlite_file_is_copied_before_it_is_migrated_and_the_copys_place_is_printed(
    home: Path, older: Warehouse
) -> None:
    shown = run(home, "migrate")
    assert shown.returncode == 0, shown.stderr
    (copy,) = copies_of(older)
    assert f"schema 0008 and is migrated; a copy from before is kept in {copy}" in shown.stderr
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    kept = Warehouse(f"sqlite:///{copy}")
    assert kept.revision() == "0008"
    with kept.read() as connection:
        assert list(companies.load(connection, ["a.com"])) == ["a.com"]
    kept.close()
    assert "copy" not in run(home, "migrate").stderr


@pytest.mark.slow
def test_a_command_that_finds_an_older_file_says_that_it_copied_and_migrated_it(home: Path, older: Warehouse) -> None:
    shown = run(home, "drift")
    assert shown.returncode == 0, shown.stderr
    (copy,) = copies_of(older)
    assert str(copy) in shown.stderr
    assert Warehouse(older.url).is_current()


def test_only_the_newest_copies_are_kept_and_no_half_one(home: Path, older: Warehouse) -> None:
    assert older.file is not None
    folder = older.file.parent / FOLDER
    folder.mkdir()
    for day in range(10, 16):
        (folder / f"202601{day}T000000Z-0007-{older.file.name}").write_text("an earlier copy")
    (folder / f"20260120T000000Z-0008-{older.file.name}.partial").write_text("half of one")
    (folder / "20260101T000000Z-0007-another.db").write_text("of another file")
    assert Home(home).invoke("migrate").exit_code == 0
    kept = [path.name for path in copies_of(older)]
    assert [name[:8] for name in kept[:3]] == ["20260101", "20260114", "20260115"]
    assert len(kept) == 4
    assert kept[3].endswith(f"-0008-{older.file.name}")


@pytest.mark.slow
def test_without_space_for_the_copy_nothing_is_migrated_and_it_says_how_much_is_missing(
    home: Path, older: Warehouse
) -> None:
    assert older.file is not None
    done = run_on_small_disk(
        home,
        size_of(older.file) // 1024 * 2,
        'cp "$OLD" "$HUNTER_HOME/w.db"; $PC migrate || echo "exit code $?"; ls "$HUNTER_HOME/before_migration"',
        OLD=str(older.file),
        HUNTER_DATABASE_URL=f"sqlite:///{home}/w.db",
    )
    assert done.stdout.split("\n") == ["exit code 1", ""], done.stderr
    assert re.search(
        r"error the disk of \S+w.db has [\d.]+ MB free, and [\d.]+ MB are needed .* Nothing was changed", done.stderr
    )
    assert "Traceback" not in done.stderr
