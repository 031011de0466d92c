"""`partner-center sync`: materializes windows through Dagster, in the foreground."""

from datetime import UTC, datetime
from typing import Final

import click

from partner_center_pipeline.cli.base import console, emit, ensure_sync_start, enter_home, notes, report_errors, stop
from partner_center_pipeline.cli.one_fetch import wait_option
from partner_center_pipeline.cli.operators import told_at_the_end
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.cli.sign_in import refuse_without_sign_in
from partner_center_pipeline.windows import (
    WindowGrid,
    catch_up,
    clocks_differ,
    cut_refused,
    datetime_of,
    held_back,
    ticks_of,
    until_end,
)

_LISTS: Final = "partner-center export --output leads.xlsx (the lists), or partner-center ui (the runs)"
_REVIEW: Final = "partner-center quarantine list, then partner-center export --output leads.xlsx (the lists)"


class _Instant(click.ParamType[datetime]):
    """An instant in UTC: `2026-01-31T09:30:00Z`, `2026-01-31T09:30`, `2026-01-31`."""

    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no instant; write it like 2026-01-31T09:30:00Z (UTC)", param, ctx)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@click.command()
@click.option("--from", "since", type=_Instant(), metavar="T", help="First instant (UTC), e.g. 2026-01-31T09:00Z.")
@click.option("--to", "until", type=_Instant(), metavar="T", help="Where to stop (UTC, exclusive).")
@click.option("--force", is_flag=True, help="Make leads, companies and scores of these windows again, changed or not.")
@wait_option
@json_option("Print the outcome as JSON.")
@report_errors
def sync(since: datetime | None, until: datetime | None, force: bool, wait: float | None, as_json: bool) -> None:
    """Materialize sync windows now, through Dagster, and show the progress.

    Without options: every window that is due and not done, the oldest first (what the sensor would ask for). With
    --from and --to: the windows of that time, done or not; running one again changes nothing that is right. Rows that
    came into a done window later (`reconcile`, `quarantine replay`) become leads, too. Good for a first try, or for a
    cron job.

    After a failure the next windows are done, unless they would meet the same (nobody is signed in, Partner Center
    cannot be reached). Exit code 1 at the end when something failed. Rows in quarantine are a warning.

    At the end operators are told what is not well, where a channel is set up (docs/alerts.md).

    One run fetches at a time. When another one does, this says which and since when, and ends with exit code 3; with
    --wait it waits. A run that was killed is waited for in any case, up to about a minute.
    """
    enter_home()
    ensure_sync_start()
    with told_at_the_end():
        _sync(since, until, force=force, wait=wait, as_json=as_json)


def _sync(since: datetime | None, until: datetime | None, *, force: bool, wait: float | None, as_json: bool) -> None:
    from partner_center_pipeline.cli.chain import run_chain
    from partner_center_pipeline.defs.gate import gate
    from partner_center_pipeline.warehouse import ledger, quarantine
    from partner_center_pipeline.warehouse.database import open_warehouse

    settings, now = gate(), datetime.now(UTC)
    refuse_without_sign_in(settings)
    grid = settings.grid
    with open_warehouse(settings) as warehouse:
        if since is None and until is None:
            with warehouse.read() as connection:
                asked_until = held_back(now, ledger.clock_skew(connection, now))
                missing = catch_up(grid, asked_until, ledger.covered(connection), busy=())
                refused = ledger.refused(connection, missing[0][0], missing[-1][1]) if missing else []
            intervals = cut_refused(missing, refused, grid.width)
        else:
            intervals = _due_in(grid, now, since, until)
        done = run_chain(warehouse, grid, intervals, force=force, wait=wait)
        with warehouse.read() as connection:
            skew = ledger.clock_skew(connection, now)
        over = until_end(intervals, grid.due_end(held_back(now, skew)))
        run_ids = done.run_ids
        if done.failures and over != intervals:  # this run found that the server's clock is behind
            intervals, done = over, run_chain(warehouse, grid, over, force=force, wait=wait)
            run_ids += done.run_ids
        with warehouse.read() as connection:
            kept = quarantine.counts(connection)
            rows = ledger.figures_of(connection, run_ids)
    if differ := clocks_differ(skew):
        notes.print(f"[yellow]warning[/] {differ}")
    windows = sum((end - start) // grid.width for start, end in intervals)
    if as_json:
        shown = [failure.shown() for failure in done.failures]
        emit(
            {
                "windows": windows,
                "runs": len(intervals),
                "failure": shown[0] if shown else None,
                "failures": shown,
                "quarantined": kept,
                "rows": {
                    "fetched": rows.fetched,
                    "new_versions": rows.new_versions,
                    "unchanged": rows.unchanged,
                    "quarantined": rows.quarantined,
                },
            }
        )
    elif not done.failures:
        console.print(
            f"[green]Done[/]: {windows} windows. {rows.fetched:,} rows fetched: {rows.new_versions:,} new or changed, "
            f"{rows.unchanged:,} known already, {rows.quarantined:,} to quarantine."
            if windows
            else "Every window that is due is done."
        )
        console.print(f"Next: {_REVIEW if kept else _LISTS}")
    if held := quarantine.summary(kept):
        notes.print("[bold yellow]warning[/] ", end="")
        notes.print(held, markup=False)
    if done.failures:
        stop("\n".join(map(str, done.failures)))


def _due_in(grid: WindowGrid, now: datetime, since: datetime | None, until: datetime | None) -> list[tuple[int, int]]:
    """Return the due windows that overlap `[since, until)` as intervals of ticks, each at most one day."""
    last = grid.last_due(now)
    if grid.first is None or last is None:
        raise click.UsageError("no sync window has ended since HUNTER_SYNC_START")
    first = max(ticks_of(since) if since else grid.first, grid.first) // grid.width * grid.width
    end = min(-(-ticks_of(until) // grid.width) * grid.width if until else last.end, last.end)
    if first >= end:
        raise click.UsageError(
            f"no window there: they run from {datetime_of(grid.first):%Y-%m-%dT%H:%M}Z (HUNTER_SYNC_START) "
            f"to {datetime_of(last.end):%Y-%m-%dT%H:%M}Z (what is due by now)"
        )
    day = grid.per_day * grid.width
    return [(start, min(start + day, end)) for start in range(first, end, day)]
