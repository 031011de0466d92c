"""The stored sign-in: encrypted, private, and whole after a crash. It is in a file, or in a place that machines share.

Not here: what the sign-in means and when it is renewed (`sign_in`), the shared place itself (`warehouse.tokens`).
"""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

import msal
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, SecretStr, ValidationError

from partner_center_pipeline.partner_center.errors import SignInRequired, TokenStoreError
from partner_center_pipeline.settings import SettingsError
from partner_center_pipeline.telling import SIGN_IN_HELD, told_wait

KEY_VARIABLE: Final = "HUNTER_PARTNER_CENTER_TOKEN_KEY"
LOCK_SECONDS: Final = 90.0
"""How long to wait for another process that renews; longer than its `MAX_SIGN_IN_WAIT`."""

_log: Final = logging.getLogger(__name__)

_CACHE_FILE: Final = "sign_in.bin"
_KEY_FILE: Final = "sign_in.key"
_LOCK_FILE: Final = "sign_in.lock"
_TEMPORARY_PREFIX: Final = ".sign_in-"
_OTHERS_MODE: Final = 0o077
_READ_TRIES: Final = 20
"""Reads that may meet a key that is being changed. One change takes three writes; nobody makes many in a row."""
_NEW_KEY: Final = (
    "make one with `python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`"
)


class Flow(StrEnum):
    """How a person signed in, which also matters for renewals (partner_center_api.md, "Protocol tracked")."""

    DEVICE_CODE = "device_code"
    BROWSER = "browser"
    """Authorization code with PKCE."""

    @property
    def command(self) -> str:
        """The command that signs in this way."""
        return "partner-center login" + (" --browser" if self is Flow.BROWSER else "")


class StoredSignIn(BaseModel):
    """MSAL's serialized cache, when (UTC) and how a person last signed in, and when the refresh token last changed."""

    model_config = ConfigDict(frozen=True)

    msal_cache: str
    signed_in_at: AwareDatetime
    renewed_at: AwareDatetime
    flow: Flow = Flow.DEVICE_CODE


def account_in(stored: StoredSignIn) -> str | None:
    """Return the hex SHA-256 of MSAL's id of the account that signed in (object id and tenant), None without one.

    The same account has the same one after each sign-in; nobody can tell from it who it is.
    """
    cache = msal.SerializableTokenCache()
    cache.deserialize(stored.msal_cache)
    accounts = cache.search(msal.TokenCache.CredentialType.ACCOUNT)
    first = min((str(account["home_account_id"]) for account in accounts), default=None)
    return None if first is None else sha256(first.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyFit:
    """Which key decrypts the stored sign-in: number `fits` of `known` keys in `source`, a file or a variable.

    Number 1 is the one that encrypts.
    """

    source: str
    known: int
    fits: int


class SignInStore(Protocol):
    """Stores the sign-in, `TokenStore` for this machine, `SharedTokenStore` for several.

    Every method raises TokenStoreError when what is stored cannot be used, SettingsError when a key is no Fernet key.
    """

    @property
    def where(self) -> str:
        """The place, as text for people."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock for renewing and writing, against other threads and processes. Does not nest."""
        ...

    def read(self) -> StoredSignIn | None:
        """Return the stored sign-in, or None. Needs no lock."""
        ...

    def write(self, stored: StoredSignIn) -> None:
        """Replace the stored sign-in. Call it inside `locked()`."""
        ...

    def rotate_key(self) -> KeyFit:
        """Encrypt the stored sign-in with a new key, so that the old one cannot decrypt it. Takes the lock.

        Returns which key decrypts it now. Raises SignInRequired when nobody is signed in.
        """
        ...

    def key_fit(self) -> KeyFit | None:
        """Return which key decrypts the stored sign-in; None when nobody is signed in."""
        ...


class SealedPlace(Protocol):
    """A place that holds one encrypted sign-in for several machines, and does not know the key."""

    @property
    def where(self) -> str:
        """The place, as text for people."""
        ...

    def locked(self, seconds: float) -> AbstractContextManager[None]:
        """Hold the lock against all machines; wait up to `seconds` for it. Does not nest."""
        ...

    def read(self) -> bytes | None:
        """Return the encrypted sign-in, or None."""
        ...

    def write(self, sealed: bytes) -> None:
        """Replace the encrypted sign-in. Call it inside `locked()`."""
        ...


@dataclass(frozen=True, slots=True)
class TokenStore:
    """The sign-in in a file of `folder`, which is created where it is missing (mode 0700; its files have 0600).

    `key` is HUNTER_PARTNER_CENTER_TOKEN_KEY: one Fernet key, or several separated by commas; the first encrypts, and
    all decrypt. None: a key file beside the cache, created by the first write. Raises TokenStoreError also when other
    users may open the folder or a file in it.
    """

    folder: Path
    key: SecretStr | None = None

    @property
    def where(self) -> str:
        return str(self.folder / _CACHE_FILE)

    @contextmanager
    def locked(self) -> Iterator[None]:
        self._make_folder()
        lock = FileLock(self.folder / _LOCK_FILE, mode=0o600)

        def acquire(seconds: float | None) -> bool:
            try:
                lock.acquire(timeout=LOCK_SECONDS if seconds is None else seconds)
            except Timeout:
                return False
            return True

        if not told_wait(acquire, _log, SIGN_IN_HELD, self.where, LOCK_SECONDS):
            raise TokenStoreError(
                f"Another process has held {lock.lock_file} for {LOCK_SECONDS:.0f} s. Let it finish, or end it.",
                transient=True,
            )
        try:
            yield
        finally:
            lock.release()

    def read(self) -> StoredSignIn | None:
        for _ in range(_READ_TRIES):  # without a lock: a write replaces a file as a whole
            before = self._files()
            try:
                return self._read_once()
            except TokenStoreError:
                if self._files() == before:
                    raise
                # `rotate_key` replaced key or cache between the two reads, so they may not fit.
        return self._read_once()

    def write(self, stored: StoredSignIn) -> None:
        self._make_folder()
        if self.key is None and not (self.folder / _KEY_FILE).exists():
            self._replace(_KEY_FILE, Fernet.generate_key() + b"\n")
        self._replace(_CACHE_FILE, _seal(stored, self._keys()))

    def rotate_key(self) -> KeyFit:
        """Encrypt with the variable's first key, or with a new key in the key file, and remove the old one there."""
        with self.locked():
            sealed = self._sealed()
            if sealed is None:
                raise _nobody_signed_in()
            if self.key is not None:
                rotated = _rotated(sealed, self._keys(), self._source, self.where)
                self._replace(_CACHE_FILE, rotated)
                return _fit(rotated, self._keys(), self._source, self.where)
            new = Fernet.generate_key()
            # In this order the key file decrypts the cache after a crash at any step.
            both = new + b"\n" + self._read_private(self.folder / _KEY_FILE)
            rotated = _rotated(sealed, [Fernet(new), *self._keys()], self._source, self.where)
            self._replace(_KEY_FILE, both)
            self._replace(_CACHE_FILE, rotated)
            self._replace(_KEY_FILE, new + b"\n")
            return _fit(rotated, self._keys(), self._source, self.where)

    def key_fit(self) -> KeyFit | None:
        sealed = self._sealed()
        return None if sealed is None else _fit(sealed, self._keys(), self._source, self.where)

    def contents(self) -> dict[str, bytes]:
        """Return the files of the store by name, the encrypted sign-in and its key, as they fit. Takes the lock."""
        if not (self.folder / _CACHE_FILE).exists():
            return {}
        with self.locked():
            paths = (self.folder / _KEY_FILE, self.folder / _CACHE_FILE)
            return {path.name: self._read_private(path) for path in paths if path.exists()}

    def replace(self, contents: Mapping[str, bytes]) -> None:
        """Put the files that `contents` returned in the place of those that are there. Takes the lock."""
        with self.locked():
            for name in sorted(contents, reverse=True):  # the key first: the sign-in cannot be read without it
                self._replace(name, contents[name])

    @property
    def _source(self) -> str:
        return str(self.folder / _KEY_FILE) if self.key is None else KEY_VARIABLE

    def _read_once(self) -> StoredSignIn | None:
        sealed = self._sealed()
        return None if sealed is None else _open(sealed, self._keys(), self._source, self.where)

    def _files(self) -> list[tuple[int, int] | None]:
        """Return what differs once key or cache was replaced."""
        paths = (self.folder / _KEY_FILE, self.folder / _CACHE_FILE)
        stats = [path.stat() if path.exists() else None for path in paths]  # no file is ever removed
        return [None if stat is None else (stat.st_ino, stat.st_mtime_ns) for stat in stats]

    def _sealed(self) -> bytes | None:
        path = self.folder / _CACHE_FILE
        if not path.exists():
            return None
        self._refuse_open_to_others(self.folder)
        return self._read_private(path)

    def _keys(self) -> list[Fernet]:
        if self.key is not None:
            return _keys_of_variable(self.key)
        path = self.folder / _KEY_FILE
        try:
            return _keys_of(self._read_private(path).decode("ascii", "replace").split())
        except (FileNotFoundError, ValueError):
            raise TokenStoreError(
                f"The key of the stored sign-in, {path}, is not there or damaged. Put it back, or delete "
                f"{self.folder} and run `partner-center login`."
            ) from None

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise TokenStoreError(
                f"The folder of the sign-in, {self.folder}, cannot be made ({error.strerror}). Make its parent folder "
                "writable, or set HUNTER_PARTNER_CENTER_TOKEN_CACHE_PATH to another one."
            ) from None
        self._refuse_open_to_others(self.folder)

    def _read_private(self, path: Path) -> bytes:
        self._refuse_open_to_others(path)
        return path.read_bytes()

    def _replace(self, name: str, content: bytes) -> None:
        """Write a file so that a reader, also after a crash at any moment, finds the old content or the new, whole.

        Raises TokenStoreError where that is not possible: the disk is full, or the folder may not be written.
        """
        try:
            self._write_whole(name, content)
        except OSError as error:
            raise TokenStoreError(
                f"The sign-in cannot be stored in {self.folder} ({error.strerror}); what was stored before is as it "
                "was. Free some space on its disk or make the folder writable, then run again."
            ) from None

    def _write_whole(self, name: str, content: bytes) -> None:
        for leftover in self.folder.glob(f"{_TEMPORARY_PREFIX}*"):
            leftover.unlink(missing_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=self.folder)  # mkstemp makes it 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        Path(temporary).replace(self.folder / name)
        directory = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _refuse_open_to_others(self, path: Path) -> None:
        mode = path.stat().st_mode
        if mode & _OTHERS_MODE:
            right = "700" if path.is_dir() else "600"
            raise TokenStoreError(
                f"{path} is open to other users of this machine (mode {mode & 0o777:o}), and it guards the "
                f"sign-in to Partner Center. Run `chmod {right} {path}`; if others may have read it, "
                "revoke the sign-in and run `partner-center login`."
            )


@dataclass(frozen=True, slots=True)
class SharedTokenStore:
    """The sign-in of several machines in `place`, encrypted like that of `TokenStore`.

    `key` has to be set here: a key file would exist only on the machine that created it.
    """

    place: SealedPlace
    key: SecretStr | None

    @property
    def where(self) -> str:
        return self.place.where

    def locked(self) -> AbstractContextManager[None]:
        return self.place.locked(LOCK_SECONDS)

    def read(self) -> StoredSignIn | None:
        keys = self._keys()  # first, so that a missing key is reported before anybody has signed in
        sealed = self.place.read()
        return None if sealed is None else _open(sealed, keys, KEY_VARIABLE, self.where)

    def write(self, stored: StoredSignIn) -> None:
        self.place.write(_seal(stored, self._keys()))

    def rotate_key(self) -> KeyFit:
        keys = self._keys()
        with self.locked():
            sealed = self.place.read()
            if sealed is None:
                raise _nobody_signed_in()
            rotated = _rotated(sealed, keys, KEY_VARIABLE, self.where)
            self.place.write(rotated)
            return _fit(rotated, keys, KEY_VARIABLE, self.where)

    def key_fit(self) -> KeyFit | None:
        keys = self._keys()
        sealed = self.place.read()
        return None if sealed is None else _fit(sealed, keys, KEY_VARIABLE, self.where)

    def _keys(self) -> list[Fernet]:
        if self.key is None:
            raise SettingsError(
                KEY_VARIABLE,
                "is not set, and a sign-in that several machines share is encrypted with it; set the same on each: "
                f"{_NEW_KEY}",
            )
        return _keys_of_variable(self.key)


def _seal(stored: StoredSignIn, keys: list[Fernet]) -> bytes:
    return keys[0].encrypt(stored.model_dump_json().encode())


def _open(sealed: bytes, keys: list[Fernet], source: str, where: str) -> StoredSignIn:
    try:
        return StoredSignIn.model_validate_json(MultiFernet(keys).decrypt(sealed))
    except (InvalidToken, ValidationError):
        raise _no_key_fits(source, where) from None


def _fit(sealed: bytes, keys: list[Fernet], source: str, where: str) -> KeyFit:
    for number, key in enumerate(keys, 1):
        try:
            key.decrypt(sealed)
        except InvalidToken:
            continue
        return KeyFit(source, len(keys), number)
    raise _no_key_fits(source, where)


def _rotated(sealed: bytes, keys: list[Fernet], source: str, where: str) -> bytes:
    """Return `sealed` encrypted with the first of `keys`. Raises TokenStoreError for one key: nothing would change."""
    if len(keys) == 1:
        raise TokenStoreError(
            f"{source} holds one key, so there is none to change to. Set it to NEW,OLD on every machine that uses "
            f"this sign-in ({_NEW_KEY}), run `partner-center token rotate-key` again, then take OLD out of it."
        )
    try:
        return MultiFernet(keys).rotate(sealed)
    except InvalidToken:
        raise _no_key_fits(source, where) from None


def _no_key_fits(source: str, where: str) -> TokenStoreError:
    return TokenStoreError(
        f"The stored sign-in {where} cannot be decrypted with the key in {source}. Put the right key back, or run "
        "`partner-center login`, which replaces it."
    )


def _nobody_signed_in() -> SignInRequired:
    return SignInRequired("Nobody is signed in, so there is nothing to encrypt anew; run `partner-center login`.")


def _keys_of_variable(key: SecretStr) -> list[Fernet]:
    try:
        return _keys_of(key.get_secret_value().split(","))
    except ValueError:
        raise SettingsError(
            KEY_VARIABLE, f"is no Fernet key (32 bytes, URL-safe base64) or a list of them; {_NEW_KEY}"
        ) from None


def _keys_of(texts: list[str]) -> list[Fernet]:
    """Return the Fernet keys of these texts. Raises ValueError for no key, and for a text that is no key."""
    keys = [Fernet(text.strip()) for text in texts if text.strip()]
    if not keys:
        raise ValueError("no key")
    return keys
