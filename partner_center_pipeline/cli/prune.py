"""`partner-center prune`: what the daily job does with Dagster's old runs, in the foreground."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich.filesize import decimal

from partner_center_pipeline.cli.base import console, emit, enter_home, notes, report_errors, stop
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.cli.progress import progress_bar

if TYPE_CHECKING:
    from partner_center_pipeline.defs.pruning import Pruned
    from partner_center_pipeline.settings import Settings


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be deleted. Changes nothing.")
@json_option("Print the figures as JSON.")
@report_errors
def prune(dry_run: bool, as_json: bool) -> None:
    """Delete Dagster's old runs with their events and logs, and give their space back.

    Old is a run that succeeded more than HUNTER_DAGSTER_RUNS_KEPT_DAYS ago (14), or failed more than
    HUNTER_DAGSTER_FAILED_RUNS_KEPT_DAYS ago (90). A run that is not finished is never deleted, nor is the newest run
    of a job. Windows stay materialized in the UI. In the Dagster UI the job partner_center_prune does this every night.

    In the warehouse, leads, their history and which windows are done stay. Attempts that are older than
    HUNTER_ATTEMPTS_KEPT_DAYS (90) are folded into sums of a day. Where HUNTER_CLOSED_VERSIONS_KEPT is set, older
    versions of closed referrals are deleted; where HUNTER_CLOSED_CONTACTS_DAYS is set, the contacts of referrals that
    were closed longer ago are emptied.
    """
    enter_home()
    from partner_center_pipeline.cli.one_fetch import dagster_instance
    from partner_center_pipeline.defs import pruning
    from partner_center_pipeline.settings import Settings
    from partner_center_pipeline.warehouse.database import open_warehouse
    from partner_center_pipeline.warehouse.erasures import prune_personal_data
    from partner_center_pipeline.warehouse.retention import forget

    settings, now = Settings.load(), datetime.now(UTC)
    with dagster_instance() as instance:
        old = pruning.old_runs(instance, settings, now)
        if dry_run:
            done = pruning.would_prune(instance, old, settings, now)
        else:
            try:
                with progress_bar("deleting runs", old.count) as report:
                    done = pruning.prune(instance, settings.grid, old, settings, now, progress=report)
            except pruning.PruneBusyError as error:
                stop(str(error))
    with open_warehouse(settings) as warehouse:
        personal = prune_personal_data(warehouse, now, dry_run=dry_run)
        forgotten = forget(warehouse, settings, now, dry_run=dry_run)
    if as_json:
        emit({"dry_run": dry_run, **done.shown(), **personal, **forgotten})
    else:
        console.print(_said(done, settings), markup=False)
        would = "that would be " if dry_run else ""
        console.print(
            f"Attempts {would}folded into sums of a day: {forgotten['attempts_folded']:,}, older than "
            f"{settings.attempts_kept_days} days."
        )
        if settings.closed_versions_kept is not None:
            console.print(f"Old versions of closed referrals {would}deleted: {forgotten['versions_deleted']:,}.")
        if settings.closed_contacts_days is not None:
            console.print(
                f"Contacts {would}emptied: those of "
                f"{personal['closed_referrals_emptied']:,} referrals that were closed more than "
                f"{settings.closed_contacts_days} days ago."
            )
    unforgotten = personal["warehouse_not_written_anew"]
    for reason in (*done.not_written_anew, *([str(unforgotten)] if unforgotten else [])):
        notes.print("[bold yellow]warning[/] ", end="")
        notes.print(f"free space was not given back: {reason}; the next prune tries again", markup=False)


def _said(done: "Pruned", settings: "Settings") -> str:
    rest = f", files of {done.left_behind:,} runs that Dagster does not know" if done.left_behind else ""
    what = (
        f"{done.succeeded:,} runs that succeeded more than {settings.dagster_runs_kept_days} days ago, "
        f"{done.failed:,} that failed more than {settings.dagster_failed_runs_kept_days} days ago, "
        f"{done.logs_of_ticks:,} logs of ticks, {done.events_of_no_run:,} old events of no run{rest}"
    )
    space = (
        f"{done.before.files:,} files with {decimal(done.before.bytes)} before, "
        f"{done.after.files:,} with {decimal(done.after.bytes)}"
    )
    if done.is_dry:
        return f"Would be deleted: {what}.\nDagster's storage here: {space} after, or less."
    return f"Deleted: {what}.\nDagster's storage here: {space} after."
