"""`partner-center login` against the local Microsoft, with a person at the sign-in page."""

import json
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from click.testing import Result
from cryptography.fernet import Fernet

from partner_center_pipeline_tests.cli.commands import running
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.conftest import PostgresServer
from partner_center_pipeline_tests.partner_center.browser import browse
from partner_center_pipeline_tests.ui.running import wait_until
from partner_center_simulator import Simulator


def log_in(home: Home, microsoft: Simulator, decide: Callable[[str], None]) -> Result:
    """Run the command while a thread waits for its code and calls `decide` with it."""
    with deciding(microsoft, decide):
        return home.invoke("login")


@contextmanager
def deciding(microsoft: Simulator, decide: Callable[[str], None]) -> Iterator[None]:
    before = set(microsoft.entra.pending_codes())

    def person() -> None:
        decide(wait_until("a code", lambda: next(iter(set(microsoft.entra.pending_codes()) - before), None), 20))

    thread = Thread(target=person)
    thread.start()
    yield
    thread.join()


@pytest.mark.slow
def test_the_code_is_shown_and_the_sign_in_is_kept(unsigned: Home, microsoft: Simulator) -> None:
    codes: list[str] = []

    def approve(code: str) -> None:
        codes.append(code)
        microsoft.approve(code)

    shown = log_in(unsigned, microsoft, approve)
    assert shown.exit_code == 0, shown.output
    assert f"Open {microsoft.base_url}/device in any browser and enter the code {codes[0]}" in shown.stderr
    assert shown.stdout.startswith("Signed in. Next: partner-center doctor")
    assert unsigned.invoke("doctor").exit_code == 0
    folder = unsigned.path / ".token_cache"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


@pytest.mark.slow
def test_who_declines_is_not_signed_in(unsigned: Home, microsoft: Simulator) -> None:
    shown = log_in(unsigned, microsoft, microsoft.entra.deny)
    assert shown.exit_code == 1
    assert "declined" in shown.stderr
    assert "nobody is signed in" in unsigned.invoke("doctor").output


@pytest.mark.slow
def test_a_sign_in_that_fails_leaves_the_one_before(ready: Home, microsoft: Simulator) -> None:
    assert log_in(ready, microsoft, microsoft.entra.deny).exit_code == 1
    assert ready.invoke("doctor").exit_code == 0


def test_an_app_that_is_no_public_client_is_explained(unsigned: Home, microsoft: Simulator) -> None:
    microsoft.faults.public_client_off = True
    shown = unsigned.invoke("login")
    assert shown.exit_code == 1
    assert "public client flows" in shown.stderr


def test_it_names_the_setting_that_is_missing(unsigned: Home) -> None:
    unsigned.edit_env(HUNTER_PARTNER_CENTER_CLIENT_ID=None)
    shown = unsigned.invoke("login")
    assert shown.exit_code == 1
    assert shown.stderr.startswith("error HUNTER_PARTNER_CENTER_CLIENT_ID: is not set")


def a_browser(folder: Path) -> tuple[Path, Path]:
    """A program that is a browser as far as the command can see, and the file in which it leaves the address."""
    program, opened = folder / "browser", folder / "opened"
    program.write_text(f"#!/bin/sh\nprintf %s \"$1\" >'{opened}.part' && mv '{opened}.part' '{opened}'\n")
    program.chmod(0o755)
    return program, opened


@pytest.mark.slow
def test_a_browser_is_opened_at_the_address_that_is_shown_and_signs_in(
    unsigned: Home, microsoft: Simulator, tmp_path: Path
) -> None:
    microsoft.faults.device_code_blocked = True
    program, opened = a_browser(tmp_path)
    log = tmp_path / "log"
    with log.open("w") as output, running(unsigned.path, output, "login", "--browser", BROWSER=str(program)) as process:
        address = wait_until("the browser", lambda: opened.read_text() if opened.exists() else None, 20)
        assert address in log.read_text()
        assert "You can close this window" in browse(address, microsoft.ca_bundle)
        assert process.wait(20) == 0, log.read_text()
    assert "Signed in. Next: partner-center doctor" in log.read_text()
    assert json.loads(unsigned.invoke("token", "status", "--json").stdout)["flow"] == "browser"
    assert unsigned.invoke("doctor").exit_code == 0


@pytest.mark.slow
def test_whoever_declines_in_the_browser_is_not_signed_in(unsigned: Home, microsoft: Simulator, tmp_path: Path) -> None:
    microsoft.faults.consent_declined = True
    program, opened = a_browser(tmp_path)
    log = tmp_path / "log"
    with log.open("w") as output, running(unsigned.path, output, "login", "--browser", BROWSER=str(program)) as process:
        address = wait_until("the browser", lambda: opened.read_text() if opened.exists() else None, 20)
        browse(address, microsoft.ca_bundle)
        assert process.wait(20) == 1
    assert "error The sign-in was declined." in log.read_text()
    assert json.loads(unsigned.invoke("token", "status", "--json").stdout)["signed_in"] is False


@pytest.mark.slow
def test_where_device_code_is_blocked_the_other_way_in_is_named(unsigned: Home, microsoft: Simulator) -> None:
    microsoft.faults.device_code_blocked = True
    shown = log_in(unsigned, microsoft, microsoft.approve)
    assert shown.exit_code == 1
    assert "Run `partner-center login --browser`" in shown.stderr


@pytest.mark.slow
@pytest.mark.postgres
def test_a_sign_in_in_the_database_leaves_nothing_on_the_machine(
    unsigned: Home, microsoft: Simulator, postgres: PostgresServer
) -> None:
    unsigned.edit_env(
        HUNTER_DATABASE_URL=postgres.emptied(),
        HUNTER_PARTNER_CENTER_TOKEN_STORE="database",
        HUNTER_PARTNER_CENTER_TOKEN_KEY=Fernet.generate_key().decode(),
    )
    shown = log_in(unsigned, microsoft, microsoft.approve)
    assert shown.exit_code == 0, shown.output
    assert not (unsigned.path / ".token_cache").exists()
    assert json.loads(unsigned.invoke("token", "status", "--json").stdout)["signed_in"] is True
