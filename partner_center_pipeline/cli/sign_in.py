"""`partner-center login`: one sign-in by device code, with MFA, renewed silently from then on."""

import click

from partner_center_pipeline.cli.base import console, for_people, notes
from partner_center_pipeline.partner_center import DeviceCode, connect_sign_in
from partner_center_pipeline.settings import Settings


def show_code(code: DeviceCode) -> None:
    """Tell a person where to type which code."""
    notes.print(f"Open [bold]{code.verification_uri}[/] in any browser and enter the code [bold]{code.user_code}[/]")


@click.command()
@for_people
def login() -> None:
    """Sign in to Microsoft once, by device code.

    Sign in as the account that has the Referrals Admin role for the entire company; MFA is expected. The sign-in is
    stored encrypted under HUNTER_PARTNER_CENTER_TOKEN_CACHE_PATH and renewed silently; it ends after 90 days without
    use.
    """
    with connect_sign_in(Settings.load()) as sign_in:
        code = sign_in.begin()
        show_code(code)
        with console.status("Waiting for you to sign in there (Ctrl-C to give up)"):
            sign_in.finish(code)
    console.print("[green]Signed in.[/] Next: [bold]partner-center doctor[/], then [bold]partner-center sync[/].")
