"""The command `all`: one table, each row beside its opponent in the same run, and the table as a line of JSON.

Not here: what is measured (`MODULES`), what a row and a goal are (`rows`).
"""

import json
import os
import platform
import sqlite3
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from partner_center_pipeline_tests.benchmarks.rows import MEASURES, Measuring, Row, chosen

MODULES: Final = ("loads", "cold", "graphs", "starting", "reads")
"""The modules of this package that register what they measure, in the order of the table."""

for _module in MODULES:
    import_module(f"partner_center_pipeline_tests.benchmarks.{_module}")

_VERSIONS: Final = ("dagster", "dlt", "sqlalchemy", "psycopg", "dnspython", "httpx")


def machine() -> dict[str, str]:
    """Return what the figures depend on: the machine, its load when it begins, and versions."""
    return {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "processor": _processor(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: _version_of(name) for name in _VERSIONS},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def report(rows: Iterable[Row], head: dict[str, str], failures: dict[str, str], *, small: bool) -> int:
    """Print the table and, as the last line, the same as JSON; return the exit code: 1 when a goal is missed.

    `failures` are measurements that did not come to an end, by name: each counts as a goal that is missed.
    """
    rows = list(rows)
    console = Console(highlight=False, soft_wrap=True)
    console.print(", ".join(f"{name} {value}" for name, value in head.items()))
    if small:
        console.print("Small sizes, for development: the ratios mean little.")
    table = Table("work", "against", "ratio", "goal", "holds", "measured", show_lines=True)
    for row in rows:
        table.add_row(row.work, row.against, f"{row.ratio:.2f}", str(row.goal), "yes" if row.holds else "NO", row.found)
    Console(highlight=False).print(table)
    for name, message in failures.items():
        console.print(f"{name} was not measured: {message}")
    click.echo(
        json.dumps({"machine": head, "small": small, "failures": failures, "rows": [row.shown() for row in rows]})
    )
    return 0 if rows and not failures and all(row.holds for row in rows) else 1


@click.command("all")
@click.option("--only", multiple=True, type=click.Choice(list(MEASURES)), help="Only this; may be given several times.")
@click.option("--small", is_flag=True, help="Small sizes, for development.")
@click.option("--repeat", type=click.IntRange(min=1), default=3, show_default=True, help="Rounds; the median counts.")
def all_rows(only: tuple[str, ...], small: bool, repeat: int) -> None:
    """Measure what the product takes beside what a user would pick instead, each pair in turn in this run.

    The last line is JSON: machine, and rows with work, against, ratio, goal, holds, found. The exit code is 1 where a
    goal is missed. dlt has to be installed: pip install -c constraints.txt -e '.[benchmarks]'.
    """
    notes = Console(stderr=True, highlight=False)
    head = machine()
    rows: list[Row] = []
    failures: dict[str, str] = {}
    measuring = Measuring(small, repeat, notes)
    with measuring.stack:
        for name, measure in chosen(only).items():
            notes.print(f"{name}:")
            try:
                for row in measure(measuring):
                    notes.print(f"  {row.work}: {row.ratio:.2f} ({row.goal}) {row.found}")
                    rows.append(row)
            except click.ClickException as error:
                notes.print(f"  {error.format_message()}")
                failures[name] = error.format_message()
    sys.exit(report(rows, head, failures, small=small))
