"""`partner-center restore`: what `partner-center backup` saved, put back as a whole."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from partner_center_pipeline.cli.backup_folder import ERASURES, SETTINGS, TOKENS, BackupError, DatabasePart, read_backup
from partner_center_pipeline.cli.base import console, emit, holder_of, notes, report_errors
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.cli.progress import progress_bar
from partner_center_pipeline.settings import HOME_VARIABLE, Settings, TokenPlace, home, reading_settings_of
from partner_center_pipeline.warehouse import dumps, erasures, lease
from partner_center_pipeline.warehouse.database import Warehouse, revisions
from partner_center_pipeline.warehouse.erasure_key import ErasureKeeping, ErasureKeyError

if TYPE_CHECKING:
    from partner_center_pipeline.partner_center.token_store import TokenStore

_FORMER: Final = ".env.before_restore"


@click.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The backup: a folder partner-center-<time>.",
)
@click.option("--overwrite", is_flag=True, help="Replace what the home folder and the database hold.")
@click.option(
    "--keep-settings",
    is_flag=True,
    help="Leave .env as it is; the rest goes where it says, such as into another database.",
)
@json_option("Print what was restored as JSON.")
@report_errors
def restore(source: Path, overwrite: bool, keep_settings: bool, as_json: bool) -> None:
    """Put a backup into the home folder, and into the database that its settings name.

    First every file is compared with its checksum. A home folder or a database that holds something is refused without
    --overwrite. The database is replaced as a whole or not at all, and brought to the schema of this version. Persons
    who were erased, before or after the backup was made, are taken out again where this home folder knows of it. Stop
    `partner-center ui` and what else works with it before.

    To try a backup, restore it into a folder of its own:

    \b
      HUNTER_HOME=/tmp/tried partner-center restore --from /mnt/backups/partner-center-20261128T220000Z
    \b
    With PostgreSQL (pg_restore and psql on PATH), and everywhere where the database is to be another one than that of
    `.env`: write `.env` of the new home folder first, with its HUNTER_DATABASE_URL, and add --keep-settings.
    """
    from partner_center_pipeline.partner_center.token_store import TokenStore

    folder, root = source.expanduser().absolute(), home()
    with progress_bar("checking the backup", 4) as report:
        manifest = read_backup(folder)
        report(1, "looking at what is there")
        if (ui := holder_of("ui")) is not None:
            raise BackupError(f"partner-center ui runs on the home folder {root} ({ui}); end it, then run again")
        env = None if keep_settings or not manifest.has_settings else folder / SETTINGS
        with nullcontext() if env is None else reading_settings_of(env):
            settings = Settings.load()
        warehouse = Warehouse.of(settings)
        _refuse_newer(manifest.database.revision)
        store = TokenStore(settings.partner_center_token_cache_path)
        tokens = _files(folder / TOKENS) if settings.partner_center_token_store is TokenPlace.FILE else {}
        _refuse_another_kind(warehouse, manifest.database)
        dumps.refuse_missing_programs(warehouse, "pg_restore", "psql")
        present = list(_present(root, warehouse, store, is_env=env is not None, is_sign_in=bool(tokens)))
        if present and not overwrite:
            raise BackupError(
                f"there is something already: {', '.join(present)}. Nothing was changed. Restore into another "
                f"{HOME_VARIABLE} and database, or add --overwrite to replace all of it"
            )
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            ErasureKeeping.of(settings).take_in(_files(folder / ERASURES))
        except ErasureKeyError as error:
            raise BackupError(f"{error}. Nothing was changed") from None
        report(2, "restoring the warehouse")
        rows = dumps.load(folder / manifest.database.file, warehouse)
        if rows != manifest.database.rows:
            raise BackupError(f"{warehouse.shown} does not hold what {folder} does; restore again, or another backup")
        report(3, "restoring settings and sign-in")
        if env is not None:
            _replace_settings(root, env.read_bytes())
        if tokens:
            store.replace(tokens)
        if not warehouse.is_current():
            report(3, "migrating the warehouse")
            warehouse.migrate()
        with warehouse.write() as connection:
            lease.forget_runs(connection)
        erased = erasures.reapply_erasures(warehouse, datetime.now(UTC))
        if erased:
            erasures.forget_deleted(warehouse)
        revision = warehouse.revision()
        warehouse.close()
        report(4, "done")
    next_step = "partner-center doctor, then partner-center sync" + ("" if tokens else " (after partner-center login)")
    if as_json:
        emit(
            {
                "restored": str(folder),
                "home": str(root),
                "database": warehouse.shown,
                "revision": revision,
                "rows": rows,
                "has_settings": env is not None,
                "has_sign_in": bool(tokens),
                "rows_emptied": erased,
                "not_included": manifest.not_included,
                "next": next_step,
            }
        )
    else:
        console.print(
            f"[green]Done[/]: {sum(rows.values()):,} rows in {warehouse.shown}, as of "
            f"{manifest.made_at:%Y-%m-%d %H:%M} UTC; the home folder is {root}."
        )
        if erased:
            console.print(f"Emptied again of persons who were erased: {sum(erased.values()):,} rows.")
        console.print(f"Next: {next_step}. The first sync fetches what changed since then.", markup=False)
    for missing in manifest.not_included:
        notes.print("[bold yellow]warning[/] ", end="")
        notes.print(f"not in the backup, so set it by hand: {missing}", markup=False)


def _replace_settings(root: Path, content: bytes) -> None:
    """Write `.env` (mode 0600), whole also after a crash. A former one is kept beside it."""
    env, new = root / ".env", root / ".env.restored"
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:  # noqa: PTH123  its mode
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if env.exists():
        env.replace(root / _FORMER)
    new.replace(env)


def _present(root: Path, warehouse: Warehouse, store: "TokenStore", *, is_env: bool, is_sign_in: bool) -> Iterator[str]:
    """Yield what the home folder and the database hold of what would be replaced."""
    if is_env and (root / ".env").exists():
        yield str(root / ".env")
    if not dumps.is_empty(warehouse):
        yield str(warehouse.file) if warehouse.file is not None else f"tables in {warehouse.shown}"
    if is_sign_in and store.contents():
        yield str(store.folder)


def _refuse_newer(revision: str) -> None:
    """Raise BackupError for a schema that this version does not know."""
    if revision not in revisions():
        raise BackupError(
            f"the backup has the schema {revision}, of a newer version of this project; nothing was changed. Update "
            "the project, then run again"
        )


def _refuse_another_kind(warehouse: Warehouse, part: DatabasePart) -> None:
    """Raise BackupError where the database is not of the kind, or the schema not of the name, that was saved."""
    if warehouse.is_sqlite != (part.kind == "sqlite"):
        kinds = {True: "a SQLite file", False: "PostgreSQL"}
        raise BackupError(
            f"the backup is of {kinds[part.kind == 'sqlite']}, and HUNTER_DATABASE_URL names "
            f"{kinds[warehouse.is_sqlite]}; nothing was changed. Name a database of the same kind"
            + ("" if warehouse.is_sqlite else "; afterwards `partner-center migrate-warehouse` moves it to PostgreSQL")
        )
    if part.schema_name not in (None, schema := dumps.schema_of(warehouse)):
        raise BackupError(
            f"the backup is of the schema {part.schema_name}, and HUNTER_DATABASE_URL leads to {schema}; nothing was "
            "changed. Name a database in which the schema has the same name"
        )


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}
