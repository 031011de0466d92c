"""`partner-center backup` and `restore`: what is saved comes back whole, and nothing half is taken for a backup."""

import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text

from partner_center_pipeline.cli.backup_folder import MANIFEST, PREFIX
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.lease import Lease
from partner_center_pipeline.warehouse.schema import metadata
from partner_center_pipeline_tests.cli.commands import run, running
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.warehouse.test_revisions import schema_of
from partner_center_simulator import Simulator

if TYPE_CHECKING:
    from partner_center_pipeline_tests.cli.deciding import Decided

OF_RUNS = {"leases", "run_heartbeats"}
"""Tables that a restored warehouse has empty."""


def rows_of(warehouse: Warehouse) -> dict[str, list[str]]:
    """Every row of every table but those of runs under way."""
    with warehouse.read() as connection:
        return {
            name: sorted(repr(row) for row in connection.execute(select(table)))
            for name, table in metadata.tables.items()
            if name not in OF_RUNS
        }


def saved(home: Home, folder: Path) -> Path:
    """Make a backup and return its folder."""
    done = home.invoke("backup", "--to", str(folder), "--json")
    assert done.exit_code == 0, done.output
    return Path(json.loads(done.stdout)["backup"])


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Home]:
    """A home folder that is not there yet; commands work on it once it is `entered`."""
    del home
    yield Home(tmp_path / "elsewhere")
    monkeypatch.undo()


def enter(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUNTER_HOME", str(place.path))


def refused(place: Home, *arguments: str) -> str:
    done = place.invoke(*arguments)
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output
    return " ".join(done.stderr.split())


@pytest.mark.slow
def test_a_backup_restored_elsewhere_holds_every_row_of_every_table(
    decided: "Decided",
    databases: Databases,
    signed_in: Path,
    elsewhere: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(signed_in, decided.path / ".token_cache")
    assert decided.invoke("lead", "mark", "aaaa-1", "contacted").exit_code == 0
    Lease(decided.warehouse, "a run", lambda: datetime.now(UTC)).acquire(0, time.sleep)
    before, tables = rows_of(decided.warehouse), schema_of(decided.warehouse)
    folder = saved(decided, tmp_path / "backups")

    enter(elsewhere, monkeypatch)
    elsewhere.path.mkdir()
    url = databases.empty()
    elsewhere.edit_env(HUNTER_DATABASE_URL=url, HUNTER_OWN_DOMAINS="partner.com.tr")
    told = elsewhere.invoke("restore", "--from", str(folder), "--keep-settings")
    assert told.exit_code == 0, told.output
    assert "Next: partner-center doctor, then partner-center sync" in told.stdout
    restored = Warehouse(url)
    assert rows_of(restored) == before
    assert schema_of(restored) == tables
    with restored.read() as connection:  # the run that was at work is none of this warehouse
        assert connection.execute(select(schema.leases)).all() == []
    for name in ("sign_in.bin", "sign_in.key"):
        assert (elsewhere.path / ".token_cache" / name).read_bytes() == (signed_in / name).read_bytes()
    # And it goes on: a number that a sequence gives is new, and the lists follow.
    assert elsewhere.invoke("lead", "mark", "bbbb-1", "contacted").exit_code == 0
    restored.close()


def test_a_backup_is_private_and_checked_without_this_program(on_sqlite: "Decided", tmp_path: Path) -> None:
    folder = saved(on_sqlite, tmp_path / "backups")
    assert folder.name.startswith(PREFIX)
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ["warehouse.db", "settings.env", "manifest.json", "SHA256SUMS"], 0o600
    )
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder).returncode == 0
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["database"]["revision"] == on_sqlite.warehouse.revision()
    assert manifest["database"]["rows"]["leads"] == 6
    assert abs(datetime.fromisoformat(manifest["made_at"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_variables_of_the_environment_are_named_as_not_included(
    on_sqlite: "Decided", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUNTER_PARTNER_CENTER_TOKEN_KEY", "c2VjcmV0")
    done = on_sqlite.invoke("backup", "--to", str(tmp_path / "backups"))
    assert done.exit_code == 0, done.output
    assert "not in the backup: variables of the environment: HUNTER_PARTNER_CENTER_TOKEN_KEY" in done.stderr
    assert "c2VjcmV0" not in done.output


def test_what_a_killed_backup_left_is_no_backup_and_is_deleted_after_a_day(
    on_sqlite: "Decided", tmp_path: Path
) -> None:
    parent = tmp_path / "backups"
    halves = [parent / f".{PREFIX}20260101T000000Z-{number}.partial" for number in (1, 2)]
    for half, hours in zip(halves, (25, 1), strict=True):
        half.mkdir(parents=True)
        (half / "warehouse.db").write_text("half")
        at = time.time() - hours * 3600
        os.utime(half, (at, at))
    assert "is no backup" in refused(on_sqlite, "restore", "--from", str(halves[1]), "--overwrite")
    folder = saved(on_sqlite, parent)
    assert {path.name for path in parent.iterdir()} == {halves[1].name, folder.name}
    assert f"name one of the backups in it, such as {folder}" in refused(on_sqlite, "restore", "--from", str(parent))


@pytest.mark.slow
def test_a_home_and_a_database_that_hold_something_are_replaced_only_with_overwrite(
    decided: "Decided", tmp_path: Path
) -> None:
    folder = saved(decided, tmp_path / "backups")
    before = rows_of(decided.warehouse)
    assert decided.invoke("lead", "mark", "aaaa-1", "contacted").exit_code == 0
    decided.edit_env(HUNTER_UI_PASSWORD="at-least-twelve")
    after, env = rows_of(decided.warehouse), (decided.path / ".env").read_text()
    said = refused(decided, "restore", "--from", str(folder))
    assert "there is something already" in said
    assert str(decided.path / ".env") in said
    assert (str(decided.warehouse.file) if decided.warehouse.is_sqlite else "tables in postgresql") in said
    assert rows_of(decided.warehouse) == after
    assert (decided.path / ".env").read_text() == env
    decided.warehouse.close()
    done = decided.invoke("restore", "--from", str(folder), "--overwrite")
    assert done.exit_code == 0, done.output
    assert rows_of(decided.warehouse) == before
    assert "HUNTER_UI_PASSWORD" not in (decided.path / ".env").read_text()
    assert (decided.path / ".env.before_restore").read_text() == env
    assert (decided.path / ".env").stat().st_mode & 0o777 == 0o600


def spoil(folder: Path, how: str) -> str:
    """Spoil a backup, and return what must be said."""
    if how == "changed":
        file = folder / "warehouse.db"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        return "warehouse.db has changed"
    if how == "missing":
        (folder / "settings.env").unlink()
        return "settings.env is missing"
    if how == "added":
        (folder / "more.env").write_text("")
        return "more.env was not part of it"
    if how == "half":
        (folder / "SHA256SUMS").unlink()
        return "is no backup"
    manifest = json.loads((folder / MANIFEST).read_text())
    if how == "newer":
        manifest["database"]["revision"] = "9999"
    else:
        manifest["format"] = 2
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with (folder / "SHA256SUMS").open("w") as sums:
        subprocess.run(["sha256sum", "manifest.json", "warehouse.db", "settings.env"], cwd=folder, stdout=sums)
    return "of a newer version of this project" if how == "newer" else "made by another version of this project"


@pytest.mark.parametrize("how", ["changed", "missing", "added", "half", "newer", "another format"])
def test_a_backup_that_is_not_as_it_was_made_is_refused_and_nothing_is_changed(
    on_sqlite: "Decided", elsewhere: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    on_sqlite.edit_env(HUNTER_DATABASE_URL=None)  # the default, below the home folder
    assert on_sqlite.warehouse.file is not None
    on_sqlite.warehouse.close()
    (on_sqlite.path / ".hunter").mkdir(exist_ok=True)
    shutil.copyfile(on_sqlite.warehouse.file, on_sqlite.path / ".hunter/hunter.db")
    folder = saved(on_sqlite, tmp_path / "backups")
    expected = spoil(folder, how)
    enter(elsewhere, monkeypatch)
    assert expected in refused(elsewhere, "restore", "--from", str(folder))
    assert not elsewhere.path.exists()


def test_a_sqlite_file_that_another_process_works_with_is_not_replaced(on_sqlite: "Decided", tmp_path: Path) -> None:
    folder = saved(on_sqlite, tmp_path / "backups")
    before = rows_of(on_sqlite.warehouse)
    assert on_sqlite.warehouse.file is not None
    with closing(sqlite3.connect(on_sqlite.warehouse.file)) as other:
        other.execute("SELECT count(*) FROM leads").fetchone()
        said = refused(on_sqlite, "restore", "--from", str(folder), "--overwrite")
    assert "is in use" in said
    assert "stop `partner-center ui`" in said
    assert rows_of(on_sqlite.warehouse) == before


def test_a_backup_of_another_kind_of_database_is_refused(
    on_sqlite: "Decided", elsewhere: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(on_sqlite, tmp_path / "backups")
    enter(elsewhere, monkeypatch)
    elsewhere.path.mkdir()
    elsewhere.edit_env(HUNTER_DATABASE_URL="postgresql+psycopg://nobody@127.0.0.1:1/none")
    said = refused(elsewhere, "restore", "--from", str(folder), "--keep-settings")
    assert "the backup is of a SQLite file, and HUNTER_DATABASE_URL names PostgreSQL" in said
    assert "afterwards `partner-center migrate-warehouse` moves it to PostgreSQL" in said


@pytest.mark.postgres
def test_without_pg_dump_the_package_is_named_and_no_half_backup_stays(
    home: Path, postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=postgres.migrated())
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refused(place, "backup", "--to", str(tmp_path / "backups"))
    assert "pg_dump is not on PATH" in said
    assert "postgresql-client" in said
    # and one that fails
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.defpath}")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/pg_dump"
    program.write_text('#!/bin/sh\necho "pg_dump: error: aborting because of server version mismatch" >&2\nexit 1\n')
    program.chmod(0o755)
    assert "pg_dump: error: aborting because of server version mismatch" in refused(
        place, "backup", "--to", str(tmp_path / "backups")
    )
    assert list((tmp_path / "backups").iterdir()) == []


@pytest.mark.slow
@pytest.mark.postgres
def test_what_was_granted_on_the_views_and_what_a_newer_version_added_is_in_nobodys_way(
    home: Path, postgres: Any, tmp_path: Path
) -> None:
    url = postgres.migrated()
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=url)
    warehouse = Warehouse(url)
    warehouse.migrate("base")
    warehouse.migrate("0008")
    folder = saved(place, tmp_path / "backups")
    warehouse.migrate()
    with warehouse.write() as connection:
        connection.execute(text("GRANT SELECT ON leads_ready TO PUBLIC"))
        connection.execute(text("CREATE TABLE of_somebody_else (id INTEGER)"))
    done = place.invoke("restore", "--from", str(folder), "--overwrite", "--keep-settings")
    assert done.exit_code == 0, done.output
    assert warehouse.is_current()  # what an earlier version saved is migrated
    with warehouse.read() as connection:
        assert connection.execute(text("SELECT has_table_privilege('public', 'leads_ready', 'SELECT')")).scalar_one()
        assert connection.execute(text("SELECT count(*) FROM of_somebody_else")).scalar_one() == 0
    warehouse.close()


@pytest.mark.slow
def test_a_backup_made_while_a_sync_runs_is_whole_and_a_sync_goes_on_from_it(
    ready: Home, microsoft: Simulator, elsewhere: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="10")
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    microsoft.faults.slow_seconds = 0.3
    with (tmp_path / "log").open("w") as log, running(ready.path, log, "sync") as process:
        deadline = time.monotonic() + 60
        while len(raw(warehouse)) < 30 and time.monotonic() < deadline:
            time.sleep(0.1)
        folder = saved(ready, tmp_path / "backups")
        assert process.poll() is None
        microsoft.faults.clear()
        assert process.wait(120) == 0
    everything = raw(warehouse)
    warehouse.close()

    enter(elsewhere, monkeypatch)
    done = elsewhere.invoke("restore", "--from", str(folder))
    assert done.exit_code == 0, done.output
    restored = Warehouse.open(Settings.load().database_url.get_secret_value())
    assert restored.file == elsewhere.path / ".hunter/hunter.db"
    assert 30 <= len(raw(restored)) < len(everything)
    started = time.monotonic()
    synced = run(elsewhere.path, "sync", "--json")
    assert synced.returncode == 0, synced.stderr
    assert time.monotonic() - started < 45, "it waited for the lease of the run that was at work"
    assert raw(restored) == everything
    restored.close()


def raw(warehouse: Warehouse) -> set[tuple[str, str]]:
    """The versions of referrals that are stored."""
    table = schema.raw_referrals
    with warehouse.read() as connection:
        return {
            (row.referral_id, row.version) for row in connection.execute(select(table.c.referral_id, table.c.version))
        }
