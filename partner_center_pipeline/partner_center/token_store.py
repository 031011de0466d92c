"""Keeps the sign-in: encrypted, private, and whole whatever crashes.

Here belong the file, the keys and the lock, and how a shared place is used. What does not belong here: what the
sign-in means and when it is renewed (`sign_in`), and where a shared place is (the warehouse has one).
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, SecretStr, ValidationError

from partner_center_pipeline.partner_center.errors import SignInRequired, TokenStoreError
from partner_center_pipeline.settings import SettingsError

KEY_VARIABLE: Final = "HUNTER_PARTNER_CENTER_TOKEN_KEY"
LOCK_SECONDS: Final = 90.0
"""How long to wait for another process that is renewing; longer than its own `MAX_SIGN_IN_WAIT`."""

_CACHE_FILE: Final = "sign_in.bin"
_KEY_FILE: Final = "sign_in.key"
_LOCK_FILE: Final = "sign_in.lock"
_TEMPORARY: Final = ".sign_in-"
_OTHERS: Final = 0o077
_NEW_KEY: Final = (
    "make one with `python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`"
)


class Flow(StrEnum):
    """How a person signed in. Conditional Access remembers it for as long as the sign-in is renewed
    (partner_center_api.md, section 1.6, "protocol tracked")."""

    DEVICE_CODE = "device_code"
    BROWSER = "browser"
    """Authorization code with PKCE."""

    @property
    def command(self) -> str:
        """What signs in this way."""
        return "partner-center login" + (" --browser" if self is Flow.BROWSER else "")


class StoredSignIn(BaseModel):
    """MSAL's serialized cache, when a person last signed in and how, when the refresh token last changed (UTC)."""

    model_config = ConfigDict(frozen=True)

    msal_cache: str
    signed_in_at: AwareDatetime
    renewed_at: AwareDatetime
    flow: Flow = Flow.DEVICE_CODE


@dataclass(frozen=True, slots=True)
class KeyFit:
    """How many keys are known, and the number of the one that opens the stored sign-in; number 1 encrypts.

    `source` is the file or variable that holds them.
    """

    source: str
    known: int
    fits: int


class SignInStore(Protocol):
    """Where a process finds the sign-in. `TokenStore` keeps it on this machine, `SharedTokenStore` for several.

    Any method raises TokenStoreError when what is stored cannot be used, and SettingsError when a key is no Fernet
    key.
    """

    @property
    def where(self) -> str:
        """The place, for people."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Be the only thread of the only process that renews or writes. Does not nest."""
        ...

    def read(self) -> StoredSignIn | None:
        """The stored sign-in, or None. Needs no lock."""
        ...

    def write(self, stored: StoredSignIn) -> None:
        """Replace the stored sign-in. Call it inside `locked()`."""
        ...

    def rotate_key(self) -> None:
        """Encrypt the stored sign-in anew, so that the old key opens it no more. Takes the lock.

        Raises SignInRequired when nobody is signed in.
        """
        ...

    def key_fit(self) -> KeyFit | None:
        """Which key opens the stored sign-in; None when nobody is signed in."""
        ...


class SealedPlace(Protocol):
    """Keeps one encrypted sign-in for several machines. It knows neither the key nor what is inside."""

    @property
    def where(self) -> str:
        """The place, for people."""
        ...

    def locked(self, seconds: float) -> AbstractContextManager[None]:
        """Be the only one on any machine that renews or writes; wait up to `seconds` for it. Does not nest."""
        ...

    def read(self) -> bytes | None:
        """What is kept, or None."""
        ...

    def write(self, sealed: bytes) -> None:
        """Replace what is kept. Call it inside `locked()`."""
        ...


@dataclass(frozen=True, slots=True)
class TokenStore:
    """The sign-in in a file of `folder` (made when it is missing, 0700; the files in it are 0600).

    `key` is HUNTER_PARTNER_CENTER_TOKEN_KEY: one Fernet key, or several with commas between them, of which the first
    encrypts and all decrypt. None: a key file beside the cache, made at the first write.

    Raises TokenStoreError also when the folder or a file in it is open to others.
    """

    folder: Path
    key: SecretStr | None = None

    @property
    def where(self) -> str:
        """The file."""
        return str(self.folder / _CACHE_FILE)

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
        try:
            return self._read_once()
        except TokenStoreError:
            # A rotation may have replaced key and cache between the two reads; what is read now fits, or never will.
            return self._read_once()

    def write(self, stored: StoredSignIn) -> None:
        """Replace the stored sign-in. Call it inside `locked()`."""
        self._make_folder()
        if self.key is None and not (self.folder / _KEY_FILE).exists():
            self._replace(_KEY_FILE, Fernet.generate_key() + b"\n")
        self._replace(_CACHE_FILE, _seal(stored, self._keys()))

    def rotate_key(self) -> None:
        """Encrypt with the variable's first key, or with a new key file, and forget the old one."""
        with self.locked():
            sealed = self._sealed()
            if sealed is None:
                raise _nothing_to_encrypt()
            if self.key is not None:
                self._replace(_CACHE_FILE, _rotated(sealed, self._keys(), self._source, self.where))
                return
            new = Fernet.generate_key()
            # Whatever step a crash comes after, the key file opens the cache.
            both = new + b"\n" + self._read_private(self.folder / _KEY_FILE)
            rotated = _rotated(sealed, [Fernet(new), *self._keys()], self._source, self.where)
            self._replace(_KEY_FILE, both)
            self._replace(_CACHE_FILE, rotated)
            self._replace(_KEY_FILE, new + b"\n")

    def key_fit(self) -> KeyFit | None:
        """Which key opens the stored sign-in; None when nobody is signed in."""
        sealed = self._sealed()
        return None if sealed is None else _fit(sealed, self._keys(), self._source, self.where)

    @property
    def _source(self) -> str:
        return str(self.folder / _KEY_FILE) if self.key is None else KEY_VARIABLE

    def _read_once(self) -> StoredSignIn | None:
        sealed = self._sealed()
        return None if sealed is None else _open(sealed, self._keys(), self._source, self.where)

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


@dataclass(frozen=True, slots=True)
class SharedTokenStore:
    """The sign-in of several machines, kept in `place` and encrypted as `TokenStore` does it.

    `key` as there, but it has to be set: a key file would stay on the machine that made it.
    """

    place: SealedPlace
    key: SecretStr | None

    @property
    def where(self) -> str:
        """The place's own name."""
        return self.place.where

    def locked(self) -> AbstractContextManager[None]:
        """Be the only one on any machine that renews or writes. Does not nest."""
        return self.place.locked(LOCK_SECONDS)

    def read(self) -> StoredSignIn | None:
        """The stored sign-in, or None."""
        keys = self._keys()  # first: a missing key is said before anybody has signed in
        sealed = self.place.read()
        return None if sealed is None else _open(sealed, keys, KEY_VARIABLE, self.where)

    def write(self, stored: StoredSignIn) -> None:
        """Replace the stored sign-in. Call it inside `locked()`."""
        self.place.write(_seal(stored, self._keys()))

    def rotate_key(self) -> None:
        """Encrypt with the variable's first key."""
        keys = self._keys()
        with self.locked():
            sealed = self.place.read()
            if sealed is None:
                raise _nothing_to_encrypt()
            self.place.write(_rotated(sealed, keys, KEY_VARIABLE, self.where))

    def key_fit(self) -> KeyFit | None:
        """Which key opens the stored sign-in; None when nobody is signed in."""
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
    """`sealed`, encrypted with the first of `keys`. A single key is refused: it would change nothing."""
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


def _nothing_to_encrypt() -> SignInRequired:
    return SignInRequired("Nobody is signed in, so there is nothing to encrypt anew; run `partner-center login`.")


def _keys_of_variable(key: SecretStr) -> list[Fernet]:
    try:
        return _keys_of(key.get_secret_value().split(","))
    except ValueError:
        raise SettingsError(
            KEY_VARIABLE, f"is no Fernet key (32 bytes, URL-safe base64) or a list of them; {_NEW_KEY}"
        ) from None


def _keys_of(texts: list[str]) -> list[Fernet]:
    """Raises ValueError when there is no key, or one that is none."""
    keys = [Fernet(text.strip()) for text in texts if text.strip()]
    if not keys:
        raise ValueError("no key")
    return keys
