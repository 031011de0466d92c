"""`partner-center reconcile`: the weekly or the daily job's comparison, in the foreground."""

import sys
from uuid import uuid4

import click

from partner_center_pipeline.cli.base import console, emit, enter_home, notes, report_errors, stop
from partner_center_pipeline.cli.one_fetch import dagster_instance, report_observations, wait_for_turn, wait_option
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.cli.progress import progress_bar, starting_dagster
from partner_center_pipeline.cli.sign_in import refuse_without_sign_in


@click.command()
@click.option("--recent", is_flag=True, help="Compare only the last 24 hours, by the windows' own way of reading.")
@click.option("--accept-vanished", is_flag=True, help="Mark what Partner Center shows no more, however many it is.")
@wait_option
@json_option("Print the outcome as JSON.")
@report_errors
def reconcile(recent: bool, accept_vanished: bool, wait: float | None, as_json: bool) -> None:
    """Compare every referral of Partner Center with the warehouse, both ways, and load what is missing.

    Reads the whole list by another way than the windows do, and compares id and content. What is missing is loaded
    under the window that should have brought it; `partner-center sync`, or the sensor, then makes leads of it. Leads
    that Partner Center shows no more are marked and leave the sales list until it shows them again.

    Exit code 1 when a window had missed something although it had closed as complete, which is never right, and when
    too many leads are shown no more: then none is marked, because the account may have lost its role. It is exit code 3
    when another run fetches. In the Dagster UI the job partner_center_reconcile does this every week, and
    partner_center_reconcile_recent does what --recent does every day.
    """
    if recent and accept_vanished:
        raise click.UsageError("--accept-vanished needs a full comparison; leave --recent out")
    enter_home()
    from partner_center_pipeline.defs.gate import gate

    settings = gate()
    refuse_without_sign_in(settings)
    with starting_dagster():
        import dagster as dg

        from partner_center_pipeline.defs import checks
        from partner_center_pipeline.defs.reconcile import observations
        from partner_center_pipeline.defs.reconcile import reconcile as compare
        from partner_center_pipeline.defs.resources import PartnerCenterResource
    from partner_center_pipeline.warehouse import reconciling
    from partner_center_pipeline.warehouse.database import open_warehouse

    with open_warehouse(settings) as warehouse:
        run_id = f"partner-center reconcile {uuid4()}"
        with dagster_instance() as instance:
            wait_for_turn(instance, warehouse, run_id, wait, with_slot=False)
        with warehouse.read() as connection:
            expected = reconciling.expected(connection, recent=recent)
        try:
            with progress_bar("comparing", expected or None) as report:
                done = compare(
                    warehouse,
                    PartnerCenterResource(),
                    settings,
                    run_id,
                    report,
                    kind=reconciling.Kind.RECENT if recent else reconciling.Kind.FULL,
                    accept_many_vanished=accept_vanished,
                )
                report(done.fetched, "compared", total=done.fetched)
            report_observations(observations(done))
        finally:
            with dg.DagsterInstance.get() as instance, warehouse.read() as connection:
                checks.report(instance, connection)
    if as_json:
        emit({**done.shown(), "windows": [gap.row() for gap in done.windows()]})
    else:
        for gap in done.windows():
            claim = "had closed as complete" if gap.claimed else "was not done"
            console.print(f"{gap.window}  {gap.missing} missing, now loaded; the window {claim}", markup=False)
        console.print(
            f"{done.fetched} rows fetched and compared, {done.missing} were missing, {done.quarantined} in quarantine."
        )
        if not recent:
            console.print(
                f"{done.held} leads looked for, {done.marked} marked as shown no more, {done.returned} are shown again."
            )
    if done.vanished > done.marked:
        notes.print(reconciling.too_many(done.vanished, done.held), markup=False)
    if done.missed:
        stop(
            f"{done.missed} versions were missing in windows that had closed as complete. They are loaded; run "
            "`partner-center sync` to make leads of them, and report this with the windows named above."
        )
    if done.vanished > done.marked:
        sys.exit(1)
