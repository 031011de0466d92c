"""The command `all`: one table, each row beside its opponent in the same run, and the table as a line of JSON.

Not here: what is measured (`MODULES`), what a row and a goal are (`rows`).
"""

import json
import os
import platform
import sqlite3
import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from partner_center_pipeline_tests.benchmarks.rows import LEAST_ROUNDS, MEASURES, Measuring, Row, chosen

MODULES: Final = ("loads", "cold", "graphs", "starting", "reads")
"""The modules of this package that register what they measure, in the order of the table."""

for _module in MODULES:
    import_module(f"partner_center_pipeline_tests.benchmarks.{_module}")

_VERSIONS: Final = ("dagster", "dlt", "sqlalchemy", "psycopg", "psycopg2-binary", "dnspython", "httpx")


def machine() -> dict[str, str]:
    """Return what the figures depend on: the machine, its load when it begins, and versions."""
    return {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "processor": _processor(),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB",
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


def report(rows: Iterable[Row], head: dict[str, str], failures: dict[str, str], *, small: bool, rounds: int) -> int:
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
        console.print(f"{name} was not measured: {message}", markup=False)
    shown = [row.shown() for row in rows]
    click.echo(json.dumps({"machine": head, "small": small, "rounds": rounds, "failures": failures, "rows": shown}))
    return 0 if rows and not failures and all(row.holds for row in rows) else 1


@click.command("all")
@click.option("--only", multiple=True, type=click.Choice(list(MEASURES)), help="Only this; may be given several times.")
@click.option("--small", is_flag=True, help="Small sizes, for development.")
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=LEAST_ROUNDS,
    show_default=True,
    help="Rounds; the median counts. Three at least, but with --small.",
)
def all_rows(only: tuple[str, ...], small: bool, repeat: int) -> None:
    """Measure what the product takes beside what a user would pick instead, each pair in turn in this run.

    The last line is JSON: machine, and rows with work, against, ratio, goal, holds, found. The exit code is 1 where a
    goal is missed or something was not measured, 130 after Ctrl-C, which reports what was measured until then. dlt has
    to be installed: pip install -c constraints.txt -e '.[benchmarks]'.
    """
    notes = Console(stderr=True, highlight=False, markup=False)
    head = machine()
    rows: list[Row] = []
    failures: dict[str, str] = {}
    measuring = Measuring(small, repeat, notes)
    is_interrupted = False
    try:
        with measuring.stack:
            for name, measure in chosen(only).items():
                notes.print(f"{name}:")
                try:
                    for row in measure(measuring):
                        notes.print(f"  {row.work}: {row.ratio:.2f} ({row.goal}) {row.found}")
                        rows.append(row)
                except click.ClickException as error:
                    failures[name] = error.format_message()
                    notes.print(f"  {failures[name]}")
                except Exception as error:  # noqa: BLE001  hours of other rows are not to be lost
                    failures[name] = f"{type(error).__name__}: {error}"
                    notes.print(traceback.format_exc())
    except KeyboardInterrupt:
        is_interrupted = True
        failures["what was under way"] = "interrupted"
    except Exception as error:  # noqa: BLE001  a server that does not end
        failures["the end"] = f"{type(error).__name__}: {error}"
    code = report(rows, head | measuring.versions, failures, small=small, rounds=measuring.rounds)
    sys.exit(130 if is_interrupted else code)
