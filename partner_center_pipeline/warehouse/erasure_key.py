"""The key of erased persons' digests, and a copy of their tombstones: files beside the sign-in, outside the warehouse.

A backup of the warehouse that is older than an erasure does not know the person; the copy does (`erasures`).
"""

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from partner_center_pipeline.settings import Settings, home

if TYPE_CHECKING:
    from partner_center_pipeline.privacy import Keyed, Tombstone

VARIABLE: Final = "HUNTER_ERASURE_KEY"
_KEY_FILE: Final = "erasure.key"
_COPY_FILE: Final = "erasure.tombstones"
_ORDINARY_FOLDER: Final = ".token_cache"
"""The default of HUNTER_PARTNER_CENTER_TOKEN_CACHE_PATH."""
_OTHERS_MODE: Final = 0o077


class ErasureKeyError(Exception):
    """The key or the copy cannot be used. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ErasureKeeping:
    """Where the key is, and for how long contacts of closed referrals are kept.

    `key` is HUNTER_ERASURE_KEY; None: a file in `folder`. `closed_days` is HUNTER_CLOSED_CONTACTS_DAYS.
    """

    folder: Path
    key: SecretStr | None = None
    closed_days: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> "ErasureKeeping":
        """Return what the settings say. The demo has a sign-in of its own, and the warehouse of the home folder."""
        folder, ordinary = settings.partner_center_token_cache_path, home() / _ORDINARY_FOLDER
        if not (folder / _KEY_FILE).exists() and (ordinary / _KEY_FILE).exists():
            folder = ordinary
        return cls(folder, settings.erasure_key, settings.closed_contacts_days)

    @property
    def where(self) -> str:
        """The place of the key, as text for people."""
        return VARIABLE if self.key is not None else str(self.folder / _KEY_FILE)

    def keyed(self) -> "Keyed | None":
        """Return what makes digests with the key; None where there is none. Raises ErasureKeyError."""
        from partner_center_pipeline.privacy import Keyed  # with lists of domains, which most commands do not need

        if self.key is not None:
            return Keyed(self.key.get_secret_value().encode())
        path = self.folder / _KEY_FILE
        try:
            _refuse_open_to_others(path)
            secret = path.read_bytes().strip()
        except FileNotFoundError:
            return None
        if not secret:
            raise ErasureKeyError(f"{path}, the key of erased persons' digests, is empty; put it back from a backup")
        return Keyed(secret)

    def make(self) -> "Keyed":
        """Return what makes digests with the key, which is made where there is none. Raises ErasureKeyError."""
        keyed = self.keyed()
        if keyed is None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._append(_KEY_FILE, secrets.token_hex(32) + "\n", os.O_EXCL)
            keyed = self.keyed()
        if keyed is None:
            raise ErasureKeyError(f"{self.where} was removed while it was made; run again")
        return keyed

    def copied(self) -> "list[Tombstone]":
        """Return the tombstones of the copy. Raises ErasureKeyError for a line that cannot be read."""
        path = self.folder / _COPY_FILE
        return _tombstones_in(path.read_bytes(), str(path)) if path.exists() else []

    def copy(self, stones: "Iterable[Tombstone]") -> None:
        """Add tombstones to the copy that it does not have."""
        known = set(self.copied())
        new = [stone for stone in dict.fromkeys(stones) if stone not in known]
        if new:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._append(_COPY_FILE, "".join(json.dumps(asdict(stone)) + "\n" for stone in new))

    def contents(self) -> dict[str, bytes]:
        """Return the files of the key and of the copy, by name, for a backup."""
        paths = (self.folder / name for name in (_KEY_FILE, _COPY_FILE))
        return {path.name: path.read_bytes() for path in paths if path.exists()}

    def take_in(self, contents: Mapping[str, bytes]) -> None:
        """Put back what `contents` returned: the key where there is none, and tombstones that are not known here.

        What is here is never replaced: persons may have been erased since the backup was made. Raises ErasureKeyError
        where another key is in use here, as the tombstones of two keys cannot be one list.
        """
        stones = _tombstones_in(contents.get(_COPY_FILE, b""), f"{_COPY_FILE} of the backup")
        key, present = contents.get(_KEY_FILE), self.folder / _KEY_FILE
        if key is not None and self.key is None:
            if present.exists() and present.read_bytes().strip() != key.strip():
                raise ErasureKeyError(
                    f"{present}, the key of erased persons' digests, is not that of the backup; restore into another "
                    "home folder, or move the file away if nobody was erased here"
                )
            if not present.exists():
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._append(_KEY_FILE, key.decode("ascii"), os.O_EXCL)
        self.copy(stones)

    def _append(self, name: str, text: str, flags: int = 0) -> None:
        handle = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | flags, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _tombstones_in(content: bytes, where: str) -> "list[Tombstone]":
    from partner_center_pipeline.privacy import Kind, Tombstone

    try:
        read = [json.loads(line) for line in content.decode("ascii").splitlines() if line]
        return [Tombstone(one["person"], Kind(one["kind"]), one["digest"], one["words"]) for one in read]
    except (ValueError, KeyError, TypeError):
        raise ErasureKeyError(
            f"{where}, the copy of the tombstones of erased persons, is damaged; put it back from a backup"
        ) from None


def _refuse_open_to_others(path: Path) -> None:
    mode = path.stat().st_mode
    if mode & _OTHERS_MODE:
        raise ErasureKeyError(
            f"{path} is open to other users of this machine (mode {mode & 0o777:o}), and it is the key of erased "
            f"persons' digests. Run `chmod 600 {path}`"
        )
