"""`partner-center rescan`: what the hourly job does, here and now."""

from datetime import UTC, datetime

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from partner_center_pipeline.cli.base import console, emit, enter_home, for_people, notes


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@for_people
def rescan(as_json: bool) -> None:
    """Ask DNS again about the companies that are due, and score them anew.

    Due is a company whose mail set-up was last answered more than HUNTER_SIGNALS_TTL_HOURS ago, or that got no answer
    and whose next try has come. Asks DNS only, so it works without a sign-in and with HUNTER_PARTNER_CENTER_ENABLED
    off. In the Dagster UI the job partner_center_rescan does this every hour.
    """
    enter_home()
    from partner_center_pipeline.defs.rescan import rescan_due
    from partner_center_pipeline.defs.resources import MailResource
    from partner_center_pipeline.settings import Settings
    from partner_center_pipeline.warehouse import signals
    from partner_center_pipeline.warehouse.database import Warehouse

    settings, now = Settings.load(), datetime.now(UTC)
    warehouse = Warehouse.open(settings.database_url.get_secret_value())
    with warehouse.read() as connection:
        due = signals.count_due_again(connection, now)
    columns = (TextColumn("asking DNS"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with MailResource().open(settings) as scan, Progress(*columns, console=notes) as bar:
        task = bar.add_task("", total=due)
        done = rescan_due(warehouse, scan, settings, now, lambda count: bar.update(task, completed=count))
    warehouse.close()
    if as_json:
        emit({**done.shown(), "changes_by_cause": dict(done.causes)})
        return
    console.print(
        f"{done.asked} domains asked, {done.without_an_answer} without an answer; "
        f"{done.set_ups_changed} mail set-ups and {done.causes.total()} scores changed"
        if due
        else "No company's mail set-up is due to be asked again."
    )
