"""`partner-center accept-account`: a person says that the account that is signed in now is the right one."""

from datetime import UTC, datetime

import click

from partner_center_pipeline.cli.base import console, report_errors
from partner_center_pipeline.partner_center import SignInRequired, signed_in_account
from partner_center_pipeline.settings import Settings


@click.command("accept-account")
@report_errors
def accept_account() -> None:
    """Let the account, tenant and API address of now be the ones whose referrals this warehouse holds.

    The first answer of Partner Center records them. After that, another one is refused before anything is fetched,
    because accounts see different referrals. Accept a change when it is meant, such as another service account with the
    same role. Run `partner-center reconcile` afterwards: it says whether this account sees what the other one saw.
    """
    from partner_center_pipeline.warehouse import accounts
    from partner_center_pipeline.warehouse.database import open_warehouse
    from partner_center_pipeline.warehouse.tokens import shared_sign_in

    settings = Settings.load()
    with shared_sign_in(settings) as place:
        account = signed_in_account(settings, place)
    if account is None:
        raise SignInRequired("Nobody is signed in to Partner Center; run `partner-center login` first.")
    present = accounts.Connected.of(settings, account)
    with open_warehouse(settings) as warehouse, warehouse.write() as connection:
        before = accounts.load(connection)
        accounts.record(connection, present, datetime.now(UTC))
    if before is None or before == present:
        console.print("[green]Accepted[/]; there was no other account.")
    else:
        changed = " and ".join(present.differences(before))
        console.print("[green]Accepted[/]: ", end="")
        console.print(f"{changed}. Next: partner-center reconcile", markup=False)
