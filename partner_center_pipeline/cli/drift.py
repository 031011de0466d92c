"""`partner-center drift`: what Microsoft sends that none of its documents names."""

from dataclasses import asdict

import click

from partner_center_pipeline.cli.base import console, emit, for_people
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import drift as kept
from partner_center_pipeline.warehouse.database import Warehouse


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@for_people
def drift(as_json: bool) -> None:
    """List the fields and enumeration values that no document of Microsoft names.

    Each is listed once, with the first referral that showed it. Such referrals are loaded all the same; look here when
    a status or a kind of referral is not what it used to be. Shows names of fields and Microsoft's own codes only.
    """
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    try:
        with warehouse.read() as connection:
            found = kept.load(connection)
    finally:
        warehouse.close()
    if as_json:
        emit([asdict(item) for item in found])
        return
    if not found:
        console.print("None: every field and every watched value is one that Microsoft's documents name.")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("first seen (UTC)", "first referral", "what", "path", "value", box=None)
    for item in found:
        texts = (item.referral_id, item.kind, item.path, item.value)
        table.add_row(f"{item.first_seen:%Y-%m-%d %H:%M}", *map(Text, texts))  # as text: [] is not markup
    console.print(table)
