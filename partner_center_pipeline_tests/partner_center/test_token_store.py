"""The stored sign-in is private, encrypted, and never half-written; its key can be changed at any moment."""

import multiprocessing
import os
import signal
import stat
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import pytest
from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from partner_center_pipeline.partner_center.errors import SignInRequired, TokenStoreError
from partner_center_pipeline.partner_center.token_store import KeyFit, StoredSignIn, TokenStore
from partner_center_pipeline.settings import SettingsError

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
SECRET = "a-refresh-token-nobody-may-read"


def stored(cache: str = SECRET) -> StoredSignIn:
    return StoredSignIn(msal_cache=cache, signed_in_at=AT, renewed_at=AT)


def write(store: TokenStore, what: StoredSignIn | None = None) -> None:
    with store.locked():
        store.write(what or stored())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / ".token_cache"


def test_what_is_written_is_read_and_before_that_there_is_nothing(folder: Path) -> None:
    store = TokenStore(folder)
    assert store.read() is None
    assert not folder.exists()
    write(store)
    assert TokenStore(folder).read() == stored()


def test_files_are_0600_in_a_0700_folder_and_nothing_in_them_can_be_read(folder: Path) -> None:
    write(TokenStore(folder))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert SECRET.encode() not in path.read_bytes()


@pytest.mark.parametrize("name", ["sign_in.bin", "sign_in.key"])
def test_a_file_that_others_can_read_is_refused_with_the_command_that_closes_it(folder: Path, name: str) -> None:
    write(TokenStore(folder))
    (folder / name).chmod(0o640)
    with pytest.raises(TokenStoreError, match=f"chmod 600 .*{name}"):
        TokenStore(folder).read()


def test_a_folder_that_others_can_enter_is_refused_for_reading_and_for_writing(folder: Path) -> None:
    write(TokenStore(folder))
    folder.chmod(0o750)
    with pytest.raises(TokenStoreError, match=r"chmod 700 .*\.token_cache"):
        TokenStore(folder).read()
    with pytest.raises(TokenStoreError, match="chmod 700"):
        write(TokenStore(folder))


def test_a_wrong_key_is_said_and_nothing_is_lost(folder: Path) -> None:
    right, wrong = (SecretStr(Fernet.generate_key().decode()) for _ in range(2))
    write(TokenStore(folder, right))
    with pytest.raises(TokenStoreError, match="HUNTER_PARTNER_CENTER_TOKEN_KEY"):
        TokenStore(folder, wrong).read()
    assert TokenStore(folder, right).read() == stored()


def test_a_key_from_the_settings_leaves_no_key_file(folder: Path) -> None:
    write(TokenStore(folder, SecretStr(Fernet.generate_key().decode())))
    assert not (folder / "sign_in.key").exists()


def test_with_several_keys_the_first_encrypts_and_all_decrypt(folder: Path) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    write(TokenStore(folder, SecretStr(old)))
    both = TokenStore(folder, SecretStr(f"{new},{old}"))
    assert both.read() == stored()
    write(both)
    assert TokenStore(folder, SecretStr(new)).read() == stored()


@pytest.mark.parametrize("key", ["short", "ä" * 32, ","])
def test_a_key_that_is_none_is_refused_with_the_way_to_make_one_and_without_the_key(folder: Path, key: str) -> None:
    with pytest.raises(SettingsError, match="generate_key") as refused:
        write(TokenStore(folder, SecretStr(key)))
    assert refused.value.variable == "HUNTER_PARTNER_CENTER_TOKEN_KEY"
    assert len(key) == 1 or key not in str(refused.value)


@pytest.mark.parametrize("content", [None, b"", b"no key", b"\xff"])
def test_a_lost_or_damaged_key_file_is_said(folder: Path, content: bytes | None) -> None:
    write(TokenStore(folder))
    key_file = folder / "sign_in.key"
    key_file.unlink() if content is None else key_file.write_bytes(content)
    with pytest.raises(TokenStoreError, match=r"sign_in\.key"):
        TokenStore(folder).read()


def test_a_damaged_file_is_said(folder: Path) -> None:
    write(TokenStore(folder))
    sealed = folder / "sign_in.bin"
    sealed.write_bytes(sealed.read_bytes()[:-10])
    with pytest.raises(TokenStoreError, match="cannot be decrypted"):
        TokenStore(folder).read()


def test_a_reader_meets_the_old_file_or_the_new_one_and_never_a_part(folder: Path) -> None:
    store = TokenStore(folder, SecretStr(Fernet.generate_key().decode()))
    versions = [stored(letter * 50_000) for letter in "ab"]
    write(store, versions[0])
    over = Event()

    def keep_writing() -> None:
        for number in range(60):
            write(store, versions[number % 2])
        over.set()

    writer = Thread(target=keep_writing)
    writer.start()
    while not over.is_set():
        assert store.read() in versions
    writer.join()


def test_what_a_crash_left_behind_is_cleared_away(folder: Path) -> None:
    write(TokenStore(folder))
    (folder / ".sign_in-crashed").write_bytes(b"half")
    write(TokenStore(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["sign_in.bin", "sign_in.key", "sign_in.lock"]


def new_key() -> str:
    return Fernet.generate_key().decode()


def opens(key: str, folder: Path) -> bool:
    """Whether `key` opens any file of the folder."""
    for path in folder.iterdir():
        try:
            Fernet(key).decrypt(path.read_bytes())
        except InvalidToken:
            continue
        return True
    return False


def test_a_rotated_key_file_opens_the_sign_in_and_the_old_key_opens_nothing(folder: Path) -> None:
    store = TokenStore(folder)
    write(store)
    old = (folder / "sign_in.key").read_text().strip()
    assert opens(old, folder)
    fit = store.rotate_key()
    assert store.read() == stored()
    assert old not in (folder / "sign_in.key").read_text()
    assert not opens(old, folder)
    assert fit == store.key_fit() == KeyFit(str(folder / "sign_in.key"), known=1, fits=1)


def test_a_rotation_with_the_variable_encrypts_with_its_first_key(folder: Path) -> None:
    old, new = new_key(), new_key()
    write(TokenStore(folder, SecretStr(old)))
    both = TokenStore(folder, SecretStr(f"{new},{old}"))
    assert both.key_fit() == KeyFit("HUNTER_PARTNER_CENTER_TOKEN_KEY", known=2, fits=2)
    assert both.rotate_key() == both.key_fit() == KeyFit("HUNTER_PARTNER_CENTER_TOKEN_KEY", known=2, fits=1)
    assert TokenStore(folder, SecretStr(new)).read() == stored()
    assert not opens(old, folder)


def test_rotating_a_variable_with_one_key_is_refused_and_says_how_to_set_two(folder: Path) -> None:
    key = new_key()
    write(TokenStore(folder, SecretStr(key)))
    with pytest.raises(TokenStoreError, match=r"NEW,OLD .*generate_key.* again, then take OLD out") as refused:
        TokenStore(folder, SecretStr(key)).rotate_key()
    assert key not in str(refused.value)


def test_keys_that_do_not_fit_rotate_nothing(folder: Path) -> None:
    write(TokenStore(folder))
    before = (folder / "sign_in.bin").read_bytes()
    with pytest.raises(TokenStoreError, match="cannot be decrypted with the key in HUNTER_PARTNER_CENTER_TOKEN_KEY"):
        TokenStore(folder, SecretStr(f"{new_key()},{new_key()}")).rotate_key()
    assert (folder / "sign_in.bin").read_bytes() == before


def test_where_nobody_is_signed_in_there_is_nothing_to_rotate(folder: Path) -> None:
    assert TokenStore(folder).key_fit() is None
    with pytest.raises(SignInRequired, match="run `partner-center login`"):
        TokenStore(folder).rotate_key()


def test_whoever_reads_while_keys_rotate_never_meets_a_pair_that_does_not_fit(folder: Path) -> None:
    store = TokenStore(folder)
    write(store)
    over = Event()

    def keep_rotating() -> None:
        for _ in range(60):
            store.rotate_key()
        over.set()

    rotating = Thread(target=keep_rotating)
    rotating.start()
    while not over.is_set():
        assert store.read() == stored()
    rotating.join()


def _rotate(folder: Path) -> None:
    TokenStore(folder).rotate_key()


def _write_b(folder: Path) -> None:
    write(TokenStore(folder), stored("b"))


def _until_killed(step: int, folder: Path, act: Callable[[Path], None]) -> None:
    """Kill this process just before it touches the folder for the `step`-th time."""
    left = step

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(folder) in str(arguments[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    act(folder)


@pytest.mark.parametrize("act", [_rotate, _write_b], ids=["rotate", "write"])
def test_whenever_it_is_killed_the_old_sign_in_is_there_or_the_new_one(
    folder: Path, act: Callable[[Path], None]
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    steps = 0
    finished = False
    while not finished:
        steps += 1
        write(TokenStore(folder), stored("a"))
        process = context.Process(target=_until_killed, args=(steps, folder, act))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        finished = process.exitcode == 0
        assert TokenStore(folder).read() in (stored("a"), stored("b")), f"killed at step {steps}"
        TokenStore(folder).rotate_key()
        assert len((folder / "sign_in.key").read_text().split()) == 1
    assert steps > 6
