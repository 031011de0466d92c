"""`partner-center reconcile`: what the weekly job does, here and now."""

from uuid import uuid4

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from partner_center_pipeline.cli.base import console, emit, enter_home, for_people, notes, stop


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@for_people
def reconcile(as_json: bool) -> None:
    """Compare every referral of Partner Center with the warehouse, and load what is missing.

    Compares id and eTag of all that the done windows answer for. What is missing is loaded under the window that should
    have brought it; `partner-center sync`, or the sensor, then makes leads of it. Exit code 1 when a window had missed
    something although it had closed as complete: that is never right. In the Dagster UI the job
    partner_center_reconcile does this every week.
    """
    enter_home()
    import dagster as dg

    from partner_center_pipeline.defs import checks
    from partner_center_pipeline.defs.automation import gate
    from partner_center_pipeline.defs.reconcile import reconcile as sweep
    from partner_center_pipeline.defs.resources import PartnerCenterResource
    from partner_center_pipeline.warehouse import reconciling
    from partner_center_pipeline.warehouse.database import Warehouse

    opened = gate()
    if opened.settings is None:
        stop(opened.reason)
    warehouse = Warehouse.open(opened.settings.database_url.get_secret_value())
    with warehouse.read() as connection:
        expected = reconciling.expected(connection)
    columns = (TextColumn("comparing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=notes) as bar:
            task = bar.add_task("", total=expected)
            run_id = f"partner-center reconcile {uuid4()}"
            done = sweep(
                warehouse,
                PartnerCenterResource(),
                opened.settings,
                run_id,
                lambda count: bar.update(task, completed=count),
            )
    finally:
        with dg.DagsterInstance.get() as instance, warehouse.read() as connection:
            checks.report(instance, connection)
        warehouse.close()
    if as_json:
        emit({**done.shown(), "windows": [gap.row() for gap in done.windows()]})
    else:
        for gap in done.windows():
            claim = "had closed as complete" if gap.claimed else "was not done"
            console.print(f"{gap.window}  {gap.missing} missing, now loaded; the window {claim}", markup=False)
        console.print(
            f"{done.fetched} rows fetched and compared, {done.missing} were missing, {done.quarantined} in quarantine."
        )
    if done.missed:
        stop(
            f"{done.missed} versions were missing in windows that had closed as complete. They are loaded; run "
            "`partner-center sync` to make leads of them, and report this with the windows named above."
        )
