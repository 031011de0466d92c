"""`partner-center migrate-warehouse`: moves the warehouse of an embedded installation from SQLite to PostgreSQL."""

from contextlib import closing
from typing import TYPE_CHECKING, Final

import click
from rich.filesize import decimal

from partner_center_pipeline.cli.base import alone, console, emit, holder_of, report_errors, stop
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.cli.progress import progress_bar
from partner_center_pipeline.settings import Settings, database_address, home, secret_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from partner_center_pipeline.warehouse.moving import Plan, Sum

_VARIABLE: Final = "HUNTER_DATABASE_URL"


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return database_address(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}, such as postgresql+psycopg://hunter@localhost/hunter") from None


@click.command("migrate-warehouse")
@click.option(
    "--to",
    "url",
    required=True,
    metavar="URL",
    callback=_address,
    help="The PostgreSQL database: postgresql+psycopg://USER@HOST/DATABASE.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be moved, and whether it can be. Changes nothing.")
@json_option("Print what was moved as JSON.")
@report_errors
def migrate_warehouse(url: str, dry_run: bool, as_json: bool) -> None:
    """Move the SQLite warehouse to PostgreSQL, whole and compared.

    Makes the tables, copies all rows in chunks, and compares the count and a checksum of each table. The SQLite file is
    opened read only and stays as it is. A move that was ended at any moment goes on when the command is run again;
    until it says Done, no other command takes the new database. One that holds other data is refused.

    The sync has to be off from before the move until HUNTER_DATABASE_URL names the new database: switch it off
    (HUNTER_PARTNER_CENTER_ENABLED=false), stop `partner-center ui` and timers. Other users of the machine see a
    command's arguments, so leave the password out of URL: PGPASSWORD or ~/.pgpass give it. Dagster's own storage is not
    moved (docs/operations.md, "Moving to PostgreSQL").

    \b
      partner-center migrate-warehouse --to postgresql+psycopg://hunter@localhost/hunter
    """
    from partner_center_pipeline.warehouse import moving
    from partner_center_pipeline.warehouse.database import Warehouse
    from partner_center_pipeline.warehouse.time_limits import TimeLimits

    settings = Settings.load()
    file = Warehouse.of(settings).file
    if file is None:
        stop(
            f"{_VARIABLE} names PostgreSQL already, and it is the SQLite warehouse that is moved; let it name the "
            "SQLite file until the move is done"
        )
    if (ui := holder_of("ui")) is not None:
        stop(f"partner-center ui runs on the home folder {home()} ({ui}); end it, then run again")
    target = moving.MoveTarget(url, TimeLimits.of(settings))
    found: Mapping[str, Sum] = {}
    with closing(target), alone("migrate-warehouse", "a move of the warehouse", f"to {target.shown}"):
        with progress_bar("looking at both databases", None) as report, moving.opened_source(file) as source:
            plan = moving.planned(source, target)
            total, done = 2 * sum(plan.rows.values()), plan.copied
            report(done, total=total)

            def add(rows: int, now: str) -> None:
                nonlocal done
                done += rows
                report(done, now)

            if not dry_run:
                try:
                    found = moving.move(source, target, plan, add)
                except KeyboardInterrupt:
                    stop("ended. What was copied stays; run the same command again, and it goes on")
        revision = None if dry_run else target.revision()
    if as_json:
        emit(
            {
                "dry_run": dry_run,
                "from": str(file),
                "to": target.shown,
                "revision": revision,
                "tables": {
                    name: {"rows": rows, "checksum": found[name].checksum if name in found else None}
                    for name, rows in plan.rows.items()
                },
                "rows_there_before": plan.copied,
                "next": _next(file, target.shown, dry_run=dry_run),
            }
        )
        return
    if dry_run:
        _say_plan(plan, target.shown, file.stat().st_size)
    else:
        console.print(f"[green]Done[/]: {sum(plan.rows.values()):,} rows of {len(found)} tables are in ", end="")
        console.print(f"{target.shown}; each table has the same count and checksum in both.", markup=False)
        console.print(f"The old file stays as it was: {file}", markup=False)
    console.print(f"Next: {_next(file, target.shown, dry_run=dry_run)}", markup=False)


def _say_plan(plan: "Plan", shown: str, size: int) -> None:
    rows = sum(plan.rows.values())
    console.print(
        f"Would be moved: {rows:,} rows of {len(plan.rows)} tables, {decimal(size)}, to {shown}", markup=False
    )
    for name, count in plan.rows.items():
        console.print(f"  {name:<24}{count:>10,} rows")
    if plan.is_unfinished:
        console.print(f"It holds {plan.copied:,} rows of an earlier try, which are not copied again.")
    elif plan.copied:
        console.print("It holds as many rows already; they would be compared, and nothing copied.")


def _next(file: "Path", shown: str, *, dry_run: bool) -> str:
    if dry_run:
        return "switch the sync off, then run the same without --dry-run"
    from partner_center_pipeline.warehouse.copies import FOLDER

    where = f"the file of {_VARIABLE}_FILE" if f"{_VARIABLE}_FILE" in secret_files() else f"{home() / '.env'}"
    return (
        f"set {_VARIABLE}={shown} (with its password) in {where}, then run partner-center doctor, and start again what "
        "you stopped. Keep the sync off until then: what it writes to the old file stays there. When all is well, "
        f"delete {file} and {file.parent / FOLDER}: a person who is erased from now on is still named there"
    )
