"""`partner-center compact-windows`: moves HUNTER_SYNC_START forward, so that Dagster has fewer windows to show."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import dotenv
from filelock import FileLock

from partner_center_pipeline.cli.base import console, emit, enter_home, report_errors, stop
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.settings import Settings, home
from partner_center_pipeline.windows import BEGINNING, WindowGrid, datetime_of, ticks_of

_VARIABLE = "HUNTER_SYNC_START"


@click.command("compact-windows")
@click.option(
    "--keep-days",
    type=click.IntRange(min=1),
    default=365,
    show_default=True,
    metavar="DAYS",
    help="Days whose windows stay in the UI.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be changed. Changes nothing.")
@json_option("Print what was done as JSON.")
@report_errors
def compact_windows(keep_days: int, dry_run: bool, as_json: bool) -> None:
    """Move HUNTER_SYNC_START forward, so that Dagster has fewer windows to show.

    Dagster's pages get slow from about 80,000 windows on: a year and a half of ten minutes. What is synced stays
    synced: the warehouse keeps which time is covered, and no referral is fetched again. It is refused while anything
    before the new start is not done.

    Only the line in `.env` is changed. Afterwards reload the definitions in the UI (Deployment, Reload), or start
    `partner-center ui` again.
    """
    enter_home()
    from partner_center_pipeline.warehouse import ledger
    from partner_center_pipeline.warehouse.database import open_warehouse

    settings, now = Settings.load(), datetime.now(UTC)
    if settings.sync_start is None or settings.grid.first is None:
        stop(f"{_VARIABLE} is not set, so there are no windows yet; `partner-center sync` sets it")
    start = (now - timedelta(days=keep_days)).replace(hour=0, minute=0, second=0, microsecond=0)
    file = home() / ".env"
    windows = _windows(settings.grid, now)
    done = {"start": f"{settings.sync_start:%Y-%m-%dT%H:%M:%SZ}", "windows": windows, "changed": False}
    if start <= settings.sync_start:
        _show(done, f"Nothing to do: the windows begin at {done['start']}, {windows:,} of them.", as_json)
        return
    with open_warehouse(settings) as warehouse, warehouse.read() as connection:
        until = ledger.covered_from_the_beginning(connection)
    if until < ticks_of(start):
        is_empty = until == BEGINNING
        reached = "nothing is" if is_empty else f"the first gap is at {datetime_of(until):%Y-%m-%d %H:%M} UTC"
        stop(
            f"not everything before {start:%Y-%m-%d} is done: {reached}. Let the sync finish it first "
            "(`partner-center sync`), or keep more days"
        )
    if dotenv.dotenv_values(file).get(_VARIABLE) is None:
        stop(f"{_VARIABLE} is not set in {file}, but in the environment; set it to {start:%Y-%m-%dT%H:%M:%SZ} there")
    value = f"{start:%Y-%m-%dT%H:%M:%SZ}"
    left = _windows(WindowGrid.of(start, settings.grid.interval, settings.grid.lag), now)
    if not dry_run:
        _write(file, value)
    said = (
        f"{'Would set' if dry_run else 'Set'} {_VARIABLE}={value} in {file} (it was {done['start']}): {left:,} windows "
        f"instead of {windows:,}."
    )
    if not dry_run:
        said += "\nNext: reload the definitions in the UI (Deployment, Reload), or start `partner-center ui` again."
    _show({**done, "start": value, "windows": left, "changed": not dry_run}, said, as_json)


def _windows(grid: WindowGrid, now: datetime) -> int:
    last = grid.last_due(now)
    return 0 if last is None or grid.first is None else (last.end - grid.first) // grid.width


def _write(file: Path, value: str) -> None:
    """Replace the value in the file, whose other lines stay as they are."""
    lock = home() / ".hunter/env.lock"
    lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = file.stat().st_mode & 0o777
    with FileLock(lock):
        dotenv.set_key(file, _VARIABLE, value, quote_mode="never")
        file.chmod(mode)


def _show(done: dict[str, object], said: str, as_json: bool) -> None:
    if as_json:
        emit(done)
    else:
        console.print(said, markup=False)
