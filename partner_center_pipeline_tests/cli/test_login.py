"""`partner-center login` against the local Microsoft, with somebody at the sign-in page."""

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from click.testing import Result

from partner_center_pipeline.simulator import Simulator
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.ui.running import wait_until


def log_in(home: Home, microsoft: Simulator, decide: Callable[[str], None]) -> Result:
    """Run the command while somebody waits for its code and decides about it."""
    with somebody_who(microsoft, decide):
        return home.invoke("login")


@contextmanager
def somebody_who(microsoft: Simulator, decide: Callable[[str], None]) -> Iterator[None]:
    before = set(microsoft.entra.pending_codes())

    def person() -> None:
        decide(wait_until("a code", lambda: next(iter(set(microsoft.entra.pending_codes()) - before), None), 20))

    thread = Thread(target=person)
    thread.start()
    yield
    thread.join()


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


def test_who_declines_is_not_signed_in(unsigned: Home, microsoft: Simulator) -> None:
    shown = log_in(unsigned, microsoft, microsoft.entra.deny)
    assert shown.exit_code == 1
    assert "declined" in shown.stderr
    assert "nobody is signed in" in unsigned.invoke("doctor").output


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
