"""Copies of a SQLite warehouse: whole, private, also while others write; and the ones that are kept before migrations.

Not here: backups, which hold more than the warehouse (`cli.backup`).
"""

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final

from partner_center_pipeline.warehouse.database import WarehouseError
from partner_center_pipeline.warehouse.schema import VERSION_TABLE

FOLDER: Final = "before_migration"
"""The folder beside a SQLite file that holds the copies of it from before it was migrated."""
KEPT: Final = 3
"""How many of these copies stay, the newest."""

_PAGES: Final = 5_000
"""Pages that are copied between two calls of `progress`: 20 MB."""
_PARTIAL: Final = ".partial"
_SQLITE: Final = b"SQLite format 3\0"
"""How each file of SQLite begins."""

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Given how many pages are copied, and of how many."""


def copy_file(source: Path, target: Path, progress: Progress | None = None) -> None:
    """Copy a SQLite database as it is at this moment, what its write-ahead log holds included.

    Others may read and write it meanwhile. The copy has mode 0600 and one file; it has its name when it is whole and on
    the disk. Raises WarehouseError when that is not possible.
    """
    partial = target.with_name(target.name + _PARTIAL)
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as read:
            # One snapshot for all pages: otherwise each page that is written meanwhile begins the copy anew.
            read.isolation_level = None
            read.execute("BEGIN")
            read.execute("SELECT count(*) FROM sqlite_master").fetchone()
            with closing(sqlite3.connect(partial)) as write:
                read.backup(write, pages=_PAGES, progress=_reporting(progress), sleep=0)
                write.execute("PRAGMA journal_mode=DELETE")
        sync_to_disk(partial)
        partial.replace(target)
        sync_to_disk(target.parent)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise WarehouseError(
            f"{source} cannot be copied to {target} ({reason}); check that the disk has space and that the folder may "
            "be written, then run again"
        ) from None


def _reporting(progress: Progress | None) -> Callable[[int, int, int], None] | None:
    if progress is None:
        return None
    return lambda _status, remaining, total: progress(total - remaining, total)


def sync_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(file: Path) -> int:
    """Return the bytes of a SQLite database: its file and its write-ahead log."""
    both = (file, file.with_name(file.name + "-wal"))
    return sum(one.stat().st_size for one in both if one.exists())


def copy_before_migration(file: Path, revision: str, now: datetime) -> Path:
    """Copy a SQLite file of a revision before it is migrated, tell where, and delete all but the newest KEPT copies.

    Raises WarehouseError where the disk has no space for the copy and the migration, which may write everything anew.
    """
    folder = file.parent / FOLDER
    needed = 2 * size_of(file)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise WarehouseError(
            f"{folder}, for the copy of {file.name} before it is migrated, cannot be used ({error.strerror}); nothing "
            "was changed. Make it writable, then run again"
        ) from None
    if free < needed:
        raise WarehouseError(
            f"the disk of {file} has {_megabytes(free)} free, and {_megabytes(needed)} are needed to migrate it: a "
            f"copy from before goes to {folder}, and the migration may write everything anew. Nothing was changed. "
            "Free some space, then run again"
        )
    copy = folder / f"{now:%Y%m%dT%H%M%SZ}-{revision}-{file.name}"
    copy_file(file, copy)
    _log.warning("%s has the schema %s and is migrated; a copy from before is kept in %s", file, revision, copy)
    for old in sorted(folder.glob(f"*-{file.name}"))[:-KEPT]:
        old.unlink(missing_ok=True)
    for half in folder.glob(f"*-{file.name}{_PARTIAL}"):  # of a process that was killed; the lock lets only one copy
        half.unlink(missing_ok=True)
    return copy


def delete_copies(file: Path) -> int:
    """Delete the copies of a SQLite file from before its migrations; return how many there were."""
    copies = list((file.parent / FOLDER).glob(f"*-{file.name}"))
    for copy in copies:
        copy.unlink(missing_ok=True)
    return len(copies)


def other_warehouses(folders: Iterable[Path], present: Path | None) -> list[Path]:
    """Return the SQLite warehouses in folders and their copies from before migrations, but the `present` one; sorted.

    A move to PostgreSQL leaves such a file, and whoever wants to can go back to it.
    """
    files = {file for folder in folders for place in (folder, folder / FOLDER) for file in place.glob("*")}
    return sorted(file for file in files if file != present and _is_warehouse(file))


def _is_warehouse(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            if opened.read(len(_SQLITE)) != _SQLITE:
                return False
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            named = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (VERSION_TABLE,))
            return named.fetchone() is not None
    except (OSError, sqlite3.Error):  # a folder, or what nobody can read
        return False


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
