"""`partner-center migrate`: updates the warehouse's schema."""

import click

from partner_center_pipeline.cli.base import console, report_errors
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.database import Warehouse


@click.command()
@report_errors
def migrate() -> None:
    """Create or update the warehouse's tables (Alembic).

    Needed once per version on PostgreSQL. A SQLite file is migrated by the first command that opens it.
    """
    warehouse = Warehouse.of(Settings.load())
    if warehouse.is_current():
        console.print(f"{warehouse.shown} is up to date.")
        return
    with console.status("Migrating the warehouse"):
        warehouse.migrate()
    console.print(f"{warehouse.shown} is up to date now.")
