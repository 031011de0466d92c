"""`partner-center rescan`: the hourly job's DNS queries, in the foreground."""

from datetime import UTC, datetime

import click

from partner_center_pipeline.cli.base import console, emit, enter_home, notes, report_errors
from partner_center_pipeline.cli.one_fetch import report_observations
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.cli.progress import progress_bar, starting_dagster


@click.command()
@json_option("Print the counts as JSON.")
@report_errors
def rescan(as_json: bool) -> None:
    """Ask DNS again about the companies that are due, and score them anew.

    Due is a company whose mail set-up was last answered more than HUNTER_SIGNALS_TTL_HOURS ago, or that got no answer
    and whose next try has come. Asks DNS only, so it works without a sign-in and with HUNTER_PARTNER_CENTER_ENABLED
    off. In the Dagster UI the job partner_center_rescan does this every hour.
    """
    enter_home()
    with starting_dagster():
        from partner_center_pipeline.defs.rescan import Rescanned, observations, rescan_due
        from partner_center_pipeline.defs.resources import MailResource
    from partner_center_pipeline.settings import Settings
    from partner_center_pipeline.warehouse import demo, signals
    from partner_center_pipeline.warehouse.database import open_warehouse

    settings, now = Settings.load(), datetime.now(UTC)
    with open_warehouse(settings) as warehouse:
        with warehouse.read() as connection:
            demo.refuse_asking(connection, settings)  # before a bar that would stand at nothing
            due = signals.count_due_again(connection, now)
        done = Rescanned()
        if due:
            with MailResource().open(settings) as scan, progress_bar("asking DNS", due) as report:
                done = rescan_due(warehouse, scan, settings, now, report)
            report_observations(observations(done))
    if as_json:
        emit({**done.shown(), "changes_by_cause": dict(done.causes)})
        return
    asked = done.answers
    console.print(
        f"{asked.asked} domains asked, {asked.failed} without an answer; "
        f"{asked.changed} mail set-ups and {done.causes.total()} scores changed"
        if due
        else "No company's mail set-up is due to be asked again."
    )
    if asked.complaint is not None:
        notes.print(asked.complaint, markup=False)
