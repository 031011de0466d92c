"""`partner-center drift`: fields and values in Microsoft's answers that its documents do not name."""

from dataclasses import asdict

import click

from partner_center_pipeline.cli.base import console, emit, print_table, report_errors
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import drift as stored_drift
from partner_center_pipeline.warehouse.database import open_warehouse


@click.command()
@json_option("Print the list as JSON.")
@report_errors
def drift(as_json: bool) -> None:
    """List the fields and enumeration values that no document of Microsoft names.

    Each is listed once, with the first referral that showed it. Such referrals are loaded all the same; look here when
    a status or a kind of referral is not what it used to be. Shows names of fields and Microsoft's own codes only.
    """
    with open_warehouse(Settings.load()) as warehouse, warehouse.read() as connection:
        items = stored_drift.load(connection)
    if as_json:
        emit([asdict(item) for item in items])
        return
    if not items:
        console.print("None: every field and every watched value is one that Microsoft's documents name.")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("first seen (UTC)", "first referral", "what", "path", "value", box=None)
    for item in items:
        texts = (item.referral_id, item.kind, item.path, item.value)
        table.add_row(f"{item.first_seen:%Y-%m-%d %H:%M}", *map(Text, texts))  # as text: [] is not markup
    print_table(table)
