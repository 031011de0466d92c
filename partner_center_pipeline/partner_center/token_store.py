"""Keeps the sign-in on disk: encrypted, private, and whole whatever crashes.

Here belong the file, its key and its lock. What does not belong here: what the sign-in means, and when it is
renewed (`sign_in`).
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, SecretStr, ValidationError

from partner_center_pipeline.partner_center.errors import TokenStoreError
from partner_center_pipeline.settings import SettingsError

KEY_VARIABLE: Final = "HUNTER_PARTNER_CENTER_TOKEN_KEY"
LOCK_SECONDS: Final = 90.0
"""How long to wait for another process that is renewing; longer than its own `MAX_SIGN_IN_WAIT`."""

_CACHE_FILE: Final = "sign_in.bin"
_KEY_FILE: Final = "sign_in.key"
_LOCK_FILE: Final = "sign_in.lock"
_TEMPORARY: Final = ".sign_in-"
_OTHERS: Final = 0o077


class StoredSignIn(BaseModel):
    """MSAL's serialized cache, when a person last signed in, when the refresh token last changed (UTC)."""

    model_config = ConfigDict(frozen=True)

    msal_cache: str
    signed_in_at: AwareDatetime
    renewed_at: AwareDatetime


@dataclass(frozen=True, slots=True)
class TokenStore:
    """The stored sign-in in `folder` (made when it is missing, 0700; the files in it are 0600).

    `key` is HUNTER_PARTNER_CENTER_TOKEN_KEY: one Fernet key, or several with commas between them, of which
    the first encrypts and all decrypt. None: a key file beside the cache, made at the first write.

    Any method raises TokenStoreError when the folder or a file in it is open to others, or cannot be
    decrypted, and SettingsError when the key is no Fernet key.
    """

    folder: Path
    key: SecretStr | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only thread of the only process that renews or writes. Does not nest."""
        self._make_folder()
        lock = FileLock(self.folder / _LOCK_FILE, timeout=LOCK_SECONDS, mode=0o600)
        try:
            lock.acquire()
        except Timeout:
            raise TokenStoreError(
                f"Another process has held {lock.lock_file} for {LOCK_SECONDS:.0f} s. Let it finish, or end it.",
                transient=True,
            ) from None
        try:
            yield
        finally:
            lock.release()

    def read(self) -> StoredSignIn | None:
        """The stored sign-in, or None. Needs no lock: a write replaces the file as a whole."""
        path = self.folder / _CACHE_FILE
        if not path.exists():
            return None
        self._refuse_open_to_others(self.folder)
        sealed = self._read_private(path)
        try:
            return StoredSignIn.model_validate_json(self._fernet().decrypt(sealed))
        except (InvalidToken, ValidationError):
            source = str(self.folder / _KEY_FILE) if self.key is None else KEY_VARIABLE
            raise TokenStoreError(
                f"The stored sign-in {path} cannot be decrypted with the key in {source}. Put the right "
                "key back, or delete that file and run `partner-center login`."
            ) from None

    def write(self, stored: StoredSignIn) -> None:
        """Replace the stored sign-in. Call it inside `locked()`."""
        self._make_folder()
        if self.key is None and not (self.folder / _KEY_FILE).exists():
            self._replace(_KEY_FILE, Fernet.generate_key() + b"\n")
        self._replace(_CACHE_FILE, self._fernet().encrypt(stored.model_dump_json().encode()))

    def _fernet(self) -> MultiFernet:
        if self.key is not None:
            try:
                return _fernet_of(self.key.get_secret_value().split(","))
            except ValueError:
                raise SettingsError(
                    KEY_VARIABLE,
                    "is no Fernet key (32 bytes, URL-safe base64); make one with `python -c 'from "
                    "cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`",
                ) from None
        path = self.folder / _KEY_FILE
        try:
            return _fernet_of(self._read_private(path).decode("ascii", "replace").split())
        except (FileNotFoundError, ValueError):
            raise TokenStoreError(
                f"The key of the stored sign-in, {path}, is not there or damaged. Put it back, or delete "
                f"{self.folder} and run `partner-center login`."
            ) from None

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._refuse_open_to_others(self.folder)

    def _read_private(self, path: Path) -> bytes:
        self._refuse_open_to_others(path)
        return path.read_bytes()

    def _replace(self, name: str, content: bytes) -> None:
        """Write `content` so that a reader, and a crash at any moment, meets the old file or the new one."""
        for left_over in self.folder.glob(f"{_TEMPORARY}*"):
            left_over.unlink(missing_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=self.folder)  # mkstemp makes it 0600
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(self.folder / name)
        directory = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _refuse_open_to_others(self, path: Path) -> None:
        mode = path.stat().st_mode
        if mode & _OTHERS:
            right = "700" if path.is_dir() else "600"
            raise TokenStoreError(
                f"{path} is open to other users of this machine (mode {mode & 0o777:o}), and it guards the "
                f"sign-in to Partner Center. Run `chmod {right} {path}`; if others may have read it, "
                "revoke the sign-in and run `partner-center login`."
            )


def _fernet_of(keys: list[str]) -> MultiFernet:
    """Raises ValueError when there is no key, or one that is none."""
    return MultiFernet([Fernet(key.strip()) for key in keys if key.strip()])
