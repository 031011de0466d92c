"""`partner-center token`: the state of the stored sign-in, and a new key for it."""

import json
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet

from partner_center_pipeline.partner_center.token_store import TokenStore
from partner_center_pipeline.settings import Settings
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.cli.test_login import log_in
from partner_center_pipeline_tests.conftest import PostgresServer
from partner_center_simulator import Simulator

KEY_VARIABLE = "HUNTER_PARTNER_CENTER_TOKEN_KEY"


def new_key() -> str:
    return Fernet.generate_key().decode()


def found(home: Home) -> dict[str, object]:
    shown = home.invoke("token", "status", "--json")
    assert shown.exit_code == 0, shown.output
    read: dict[str, object] = json.loads(shown.stdout)
    return read


def age(days: int) -> None:
    """Move the stored sign-in into the past."""
    store = TokenStore(Settings.load().partner_center_token_cache_path)
    stored = store.read()
    assert stored is not None
    with store.locked():
        store.write(stored.model_copy(update={"renewed_at": stored.renewed_at - timedelta(days=days)}))


def test_the_status_says_where_since_when_and_until_when(ready: Home) -> None:
    age(10)
    shown = ready.invoke("token", "status").stdout
    assert f"Kept        {ready.path / '.token_cache' / 'sign_in.bin'}" in shown
    assert "UTC, by device code" in shown
    assert "UTC, 10 days ago" in shown
    assert "in 80 days unless renewed before" in shown
    assert f"1 of 1 in {ready.path / '.token_cache' / 'sign_in.key'}" in shown
    assert "ends after" not in shown


def test_the_status_for_machines_has_the_same_and_null_where_nobody_is_signed_in(ready: Home) -> None:
    status = found(ready)
    assert (status["store"], status["signed_in"], status["flow"], status["warning"]) == (
        "file",
        True,
        "device_code",
        None,
    )
    assert status["days_left"] == pytest.approx(90, abs=1)
    for file in (ready.path / ".token_cache").iterdir():
        file.unlink()
    gone = found(ready)
    assert gone["signed_in"] is False
    assert {gone[name] for name in ("flow", "signed_in_at", "renewed_at", "days_left", "key")} == {None}
    assert "no; run `partner-center login`" in ready.invoke("token", "status").stdout


def test_from_day_75_on_the_status_warns(ready: Home) -> None:
    age(75)
    assert "last renewed 75 days ago; it ends after 90 days without renewal" in ready.invoke("token", "status").stdout
    assert "run `partner-center login`" in str(found(ready)["warning"])


def test_a_key_file_is_replaced_and_the_sign_in_still_works(ready: Home) -> None:
    key_file = ready.path / ".token_cache" / "sign_in.key"
    before = key_file.read_text()
    shown = ready.invoke("token", "rotate-key")
    assert shown.exit_code == 0, shown.output
    assert f"Encrypted anew with the new key of {key_file}." in shown.stdout
    assert key_file.read_text() != before
    assert key_file.read_text().strip() not in shown.output
    assert ready.invoke("doctor").exit_code == 0


@pytest.mark.slow
def test_a_key_in_the_settings_is_changed_in_three_steps_each_of_which_says_the_next(
    unsigned: Home, microsoft: Simulator
) -> None:
    old, new = new_key(), new_key()
    unsigned.edit_env(**{KEY_VARIABLE: old})
    assert log_in(unsigned, microsoft, microsoft.approve).exit_code == 0

    first = unsigned.invoke("token", "rotate-key")
    assert first.exit_code == 1
    assert "Set it to NEW,OLD" in first.stderr

    unsigned.edit_env(**{KEY_VARIABLE: f"{new},{old}"})
    assert "run `partner-center token rotate-key`" in unsigned.invoke("token", "status").stdout
    second = unsigned.invoke("token", "rotate-key", "--json")
    assert second.exit_code == 0, second.output
    assert json.loads(second.stdout)["key"] == {"source": KEY_VARIABLE, "known": 2, "fits": 1}
    assert f"take them out of {KEY_VARIABLE}" in unsigned.invoke("token", "status").stdout

    unsigned.edit_env(**{KEY_VARIABLE: new})
    assert unsigned.invoke("doctor").exit_code == 0
    unsigned.edit_env(**{KEY_VARIABLE: old})
    assert "cannot be decrypted" in unsigned.invoke("token", "status").stderr
    for key in (old, new):
        assert key not in first.output + second.output


@pytest.mark.slow
@pytest.mark.postgres
def test_a_sign_in_in_the_database_has_its_status_and_its_rotation_too(
    unsigned: Home, microsoft: Simulator, postgres: PostgresServer
) -> None:
    old = new_key()
    shared = {"HUNTER_DATABASE_URL": postgres.emptied(), "HUNTER_PARTNER_CENTER_TOKEN_STORE": "database"}
    unsigned.edit_env(**shared, **{KEY_VARIABLE: old})
    assert log_in(unsigned, microsoft, microsoft.approve).exit_code == 0
    assert found(unsigned)["store"] == "database"
    assert "in the table token_caches of postgresql" in unsigned.invoke("token", "status").stdout
    unsigned.edit_env(**{KEY_VARIABLE: f"{new_key()},{old}"})
    shown = unsigned.invoke("token", "rotate-key")
    assert shown.exit_code == 0, shown.output
    assert f"take the others out of {KEY_VARIABLE} on every machine" in shown.stdout
    assert found(unsigned)["key"] == {"source": KEY_VARIABLE, "known": 2, "fits": 1}


def test_it_prints_no_token_no_key_and_nobodys_name(ready: Home, microsoft: Simulator) -> None:
    shown = "".join(
        ready.invoke("token", *arguments).output
        for arguments in (["status"], ["status", "--json"], ["rotate-key"], ["rotate-key", "--json"])
    )
    stored = TokenStore(Settings.load().partner_center_token_cache_path).read()
    assert stored is not None
    cache = json.loads(stored.msal_cache)
    tokens = [entry["secret"] for kind in ("AccessToken", "RefreshToken") for entry in cache[kind].values()]
    names = [entry["username"] for entry in cache["Account"].values()]
    key = (ready.path / ".token_cache" / "sign_in.key").read_text().strip()
    assert len(tokens) == 2
    for private in (*tokens, *names, key, microsoft.client_id):
        assert private not in shown
