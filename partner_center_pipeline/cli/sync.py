"""`partner-center sync`: windows through Dagster, in the foreground."""

from dataclasses import asdict
from datetime import UTC, datetime

import click

from partner_center_pipeline.cli.base import console, emit, ensure_sync_start, enter_home, for_people, stop
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.windows import WindowGrid, catch_up, datetime_of, ticks_of


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
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@for_people
def sync(since: datetime | None, until: datetime | None, as_json: bool) -> None:
    """Materialize sync windows now, through Dagster, and show the progress.

    Without options: every window that is due and not done, the oldest first (what the sensor would ask for). With
    --from and --to: the windows of that time, done or not; running one again changes nothing that is right. Good for a
    first try, or for a cron job.
    """
    enter_home()
    ensure_sync_start()
    from partner_center_pipeline.cli.chain import run_chain
    from partner_center_pipeline.defs.automation import gate
    from partner_center_pipeline.warehouse import ledger
    from partner_center_pipeline.warehouse.database import Warehouse

    opened = gate()
    if opened.settings is None:
        stop(opened.reason)
    grid = Settings.load().grid
    warehouse = Warehouse.open(Settings.load().database_url.get_secret_value())
    now = datetime.now(UTC)
    if since is None and until is None:
        with warehouse.read() as connection:
            stretches = catch_up(grid, now, ledger.covered(connection), busy=())
    else:
        stretches = _named(grid, now, since, until)
    failure = run_chain(warehouse, grid, stretches) if stretches else None
    windows = sum((end - start) // grid.width for start, end in stretches)
    if as_json:
        emit({"windows": windows, "runs": len(stretches), "failure": failure and asdict(failure)})
    elif failure is None:
        console.print(f"[green]Done[/]: {windows} windows." if windows else "Every window that is due is done.")
    if failure is not None:
        stop(f"{failure.step} failed for {failure.windows}: {failure.message}")


def _named(grid: WindowGrid, now: datetime, since: datetime | None, until: datetime | None) -> list[tuple[int, int]]:
    """The windows that touch `[since, until)`, cut to those that exist and are due, a day of them at a time."""
    last = grid.last_due(now)
    if grid.first is None or last is None:
        raise click.UsageError("no sync window has ended since HUNTER_SYNC_START")
    low = max(ticks_of(since) if since else grid.first, grid.first) // grid.width * grid.width
    high = min(-(-ticks_of(until) // grid.width) * grid.width if until else last.end, last.end)
    if low >= high:
        raise click.UsageError(
            f"no window there: they run from {datetime_of(grid.first):%Y-%m-%dT%H:%M}Z (HUNTER_SYNC_START) "
            f"to {datetime_of(last.end):%Y-%m-%dT%H:%M}Z (what is due by now)"
        )
    day = grid.per_day * grid.width
    return [(at, min(at + day, high)) for at in range(low, high, day)]
