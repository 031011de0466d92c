"""`partner-center login`: one sign-in by device code or browser. Later renewals need no person."""

from urllib.parse import parse_qs, urlsplit

import click

from partner_center_pipeline.cli.base import console, notes, report_errors
from partner_center_pipeline.cli.browser import open_in_browser
from partner_center_pipeline.partner_center import (
    DeviceCode,
    SignIn,
    SignInRequired,
    connect_sign_in,
    signed_in_account,
)
from partner_center_pipeline.settings import Settings


def show_code(code: DeviceCode) -> None:
    """Print the address of the sign-in page and the code to enter there."""
    notes.print(f"Open [bold]{code.verification_uri}[/] in any browser and enter the code [bold]{code.user_code}[/]")


def show_address(address: str) -> None:
    """Print the address to open, and open it if there is a graphical browser."""
    port = urlsplit(parse_qs(urlsplit(address).query)["redirect_uri"][0]).port
    notes.print("Open this address in a browser on this machine:")
    notes.print(address, markup=False, style="bold")
    notes.print(f"(From another machine: ssh -L {port}:127.0.0.1:{port} brings its browser back here.)", style="dim")
    open_in_browser(address)


def refuse_without_sign_in(settings: Settings) -> None:
    """Raise SignInRequired when nobody is signed in. Asks before Dagster is loaded, which takes seconds."""
    from partner_center_pipeline.warehouse.tokens import shared_sign_in

    with shared_sign_in(settings) as place:
        if signed_in_account(settings, place) is None:
            raise SignInRequired("Nobody is signed in to Partner Center; run `partner-center login`.")


@click.command()
@click.option(
    "--browser", is_flag=True, help="Sign in in a browser of this machine: for tenants that block device code."
)
@report_errors
def login(browser: bool) -> None:
    """Sign in to Microsoft once, by device code.

    Sign in as the account that has the Referrals Admin role for the entire company; MFA is expected. The sign-in is
    stored encrypted under HUNTER_PARTNER_CENTER_TOKEN_CACHE_PATH, or in the database where
    HUNTER_PARTNER_CENTER_TOKEN_STORE says so, and renewed silently; it ends after 90 days without use.
    """
    from partner_center_pipeline.warehouse.tokens import shared_sign_in

    settings = Settings.load()
    with shared_sign_in(settings) as place, connect_sign_in(settings, place) as sign_in:
        if browser:
            with console.status("Waiting for you to sign in there (Ctrl-C to give up)"):
                sign_in.through_browser(show_address)
        else:
            _by_device_code(sign_in)
    _forget_failures(settings)
    console.print("[green]Signed in.[/] Next: [bold]partner-center doctor[/], then [bold]partner-center sync[/].")


def _by_device_code(sign_in: SignIn) -> None:
    code = sign_in.begin()
    show_code(code)
    with console.status("Waiting for you to sign in there (Ctrl-C to give up)"):
        sign_in.finish(code)


def _forget_failures(settings: Settings) -> None:
    """Close the circuit breaker after a sign-in, so that the next window need not wait."""
    from partner_center_pipeline.warehouse import breaker
    from partner_center_pipeline.warehouse.database import Warehouse

    warehouse = Warehouse.of(settings)
    try:
        if warehouse.is_current():
            with warehouse.write() as connection:
                breaker.close(connection)
    finally:
        warehouse.close()
