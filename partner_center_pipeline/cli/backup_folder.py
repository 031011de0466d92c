"""The folder of a backup: what is in it, its manifest and its checksums. Shared by `backup` and `restore`.

manifest.json            what it is: versions, schema, rows of each table, time
SHA256SUMS               of every other file; `sha256sum -c SHA256SUMS` checks it without this program
warehouse.db, .dump      the SQLite file, or what pg_dump wrote
settings.env             `.env` of the home folder
token_cache/             the encrypted sign-in and its key, where they are files
erasures/                the key of erased persons' digests, and their tombstones, where somebody was erased
"""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from partner_center_pipeline.warehouse.copies import sync_to_disk

FORMAT: Final = 1
PREFIX: Final = "partner-center-"
MANIFEST: Final = "manifest.json"
CHECKSUMS: Final = "SHA256SUMS"
SETTINGS: Final = "settings.env"
TOKENS: Final = "token_cache"
ERASURES: Final = "erasures"

_PARTIAL: Final = ".partial"
_ABANDONED_AFTER: Final = timedelta(days=1)
_BLOCK: Final = 1 << 20


class BackupError(Exception):
    """A backup cannot be made, or what is there is none. The message says why and what to do."""


class DatabasePart(BaseModel):
    """What the warehouse's file in a backup is: its kind, its name, its Alembic revision, and the rows in it.

    `schema_name` is PostgreSQL's schema, None on SQLite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sqlite", "postgresql"]
    file: str
    revision: str
    schema_name: str | None
    rows: dict[str, int]


class Manifest(BaseModel):
    """What a backup is. `not_included` names what the installation needs besides it, in words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    made_at: AwareDatetime
    program: str
    database: DatabasePart
    has_settings: bool
    has_sign_in: bool
    not_included: list[str]


class NewBackup:
    """A backup that is being written, under a name that no backup has; `finish` gives it its own."""

    def __init__(self, parent: Path, now: datetime) -> None:
        """Make the folder (mode 0700) below `parent`, which is made as well. Raises OSError."""
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for half in parent.glob(f".{PREFIX}*{_PARTIAL}"):
            if datetime.fromtimestamp(half.stat().st_mtime, UTC) < now - _ABANDONED_AFTER:
                rmtree(half)  # of a backup that was killed
        self.target: Final = parent / f"{PREFIX}{now:%Y%m%dT%H%M%SZ}"
        if self.target.exists():
            raise BackupError(f"{self.target} is there already; wait a second, then run again")
        self.folder: Final = parent / f".{self.target.name}-{os.getpid()}{_PARTIAL}"
        self.folder.mkdir(mode=0o700)

    def add(self, name: str, content: bytes) -> None:
        """Write a file (mode 0600), in a folder of its own (0700) where the name has one."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:  # noqa: PTH123  its mode
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def finish(self, manifest: Manifest) -> int:
        """Add the manifest and the checksums, and give the folder its name. Return its bytes."""
        self.add(MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")
        sums = {path.relative_to(self.folder).as_posix(): digest_of(path) for path in _files(self.folder)}
        self.add(CHECKSUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode())
        size = sum(path.stat().st_size for path in _files(self.folder))
        for folder in (*(path for path in self.folder.iterdir() if path.is_dir()), self.folder):
            sync_to_disk(folder)
        self.folder.rename(self.target)
        sync_to_disk(self.target.parent)
        return size

    def abandon(self) -> None:
        """Delete what was written so far."""
        rmtree(self.folder, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_backup(folder: Path) -> Manifest:
    """Check that a folder is a whole backup, each file as it was written, and return its manifest.

    Raises BackupError that names what is wrong.
    """
    if not (folder / CHECKSUMS).is_file():
        made = sorted(path.name for path in folder.glob(f"{PREFIX}*")) if folder.is_dir() else []
        where = f"; name one of the backups in it, such as {folder / made[-1]}" if made else ""
        raise BackupError(f"{folder} is no backup: there is no file {CHECKSUMS} in it{where}")
    known: dict[str, str] = {}
    for line in (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        known[name] = digest
    found = {path.relative_to(folder).as_posix() for path in _files(folder)} - {CHECKSUMS}
    wrong = [f"{name} is missing" for name in sorted(known.keys() - found)]
    wrong += [f"{name} was not part of it" for name in sorted(found - known.keys())]
    wrong += [f"{name} has changed" for name in sorted(found & known.keys()) if digest_of(folder / name) != known[name]]
    if wrong or MANIFEST not in known:
        raise BackupError(
            f"{folder} is not as it was made: {', '.join(wrong) or 'there is no manifest'}. Nothing was changed; use "
            "another backup"
        )
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except ValidationError as error:
        field = ".".join(map(str, error.errors(include_url=False, include_input=False)[0]["loc"]))
        raise BackupError(
            f"{folder} was made by another version of this project ({MANIFEST}, {field}); nothing was changed. Restore "
            "it with the version that made it or a newer one"
        ) from None
