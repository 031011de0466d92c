"""`partner-center demo`: the whole pipeline against the local Microsoft."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.table import Table
from rich.text import Text

from partner_center_pipeline.cli.base import (
    console,
    emit,
    ensure_sync_start,
    enter_home,
    notes,
    print_table,
    report_errors,
    stop,
)
from partner_center_pipeline.cli.browser import open_in_browser
from partner_center_pipeline.cli.options import json_option, language_option
from partner_center_pipeline.settings import Settings, home
from partner_center_pipeline.vocabulary import Language
from partner_center_pipeline.windows import datetime_of, ticks_of

if TYPE_CHECKING:
    from partner_center_pipeline.warehouse.database import Warehouse

LEADS_SHOWN: Final = 10
REASONS_SHOWN: Final = 3
"""Per lead."""


@click.command()
@json_option("Print the leads and counts as JSON instead of a table.")
@language_option
@click.option("--open", "opens", is_flag=True, help="Open the report's page in the browser, where there is a desktop.")
@report_errors
def demo(as_json: bool, language: str, opens: bool) -> None:
    """Run the whole pipeline against a local Microsoft: no account, no database server.

    Starts the simulator (HTTPS and DNS on loopback), signs in by device code, materializes all five assets for a row
    of sync windows through Dagster, prints the best leads, and writes the report: a workbook and a page in the folder
    `reports` of the home folder. A second run meets the same past and adds nothing.
    """
    enter_home()
    ensure_sync_start(at_least=timedelta(hours=1))
    from partner_center_pipeline.cli.chain import run_chain
    from partner_center_pipeline.cli.local_microsoft import local_microsoft
    from partner_center_pipeline.warehouse import first_page
    from partner_center_pipeline.warehouse.row_counts import row_counts

    with local_microsoft(live=False) as local:
        grid = Settings.load().grid
        end = min(ticks_of(local.world.anchor), grid.due_end(datetime.now(UTC))) // grid.width * grid.width
        start = grid.first or 0
        with local.warehouse.read() as connection:
            before = row_counts(connection)
        failures = run_chain(local.warehouse, grid, [(start, end)]).failures
        if failures:
            stop("\n".join(map(str, failures)))
        with local.warehouse.read() as connection:
            after = row_counts(connection)
            leads = first_page.of_companies(connection, LEADS_SHOWN, only_open=True)
        report = _write_report(local.warehouse, language)
    if as_json:
        emit(
            {
                "rows": after,
                "added": {name: after[name] - before[name] for name in after},
                "leads": _plain(leads),
                "report": [str(path) for path in report],
            }
        )
        _open(report, opens)
        return
    print_table(_table(leads, language))
    windows = (end - start) // grid.width
    console.print(
        f"{windows} sync windows from {datetime_of(start):%Y-%m-%d %H:%M} to {datetime_of(end):%Y-%m-%d %H:%M} UTC"
    )
    for name, rows in after.items():
        console.print(f"  {name:<24}{rows:>7,} rows  ({rows - before[name]:+,})")
    console.print("\nThe report for the sales team (`partner-center export` writes it anywhere):")
    for path in report:
        console.print(f"  {path}", markup=False)
    _open(report, opens)
    console.print(
        "\nThe same data in the Dagster UI: [bold]partner-center ui[/]"
        "\nWith referrals arriving live:    [bold]partner-center ui --demo[/]"
    )


def _write_report(warehouse: "Warehouse", language: str) -> list[Path]:
    """Write the workbook and the page of this day to the folder of the daily reports, and return where they are."""
    from partner_center_pipeline.reports.model import About, Format
    from partner_center_pipeline.reports.words import Words
    from partner_center_pipeline.reports.writing import FOLDER, write_report
    from partner_center_pipeline.scoring import load_rules

    now = datetime.now(UTC)
    words = Words(load_rules(Settings.load().scoring_rules), Language(language))
    about = About(made_at=now, since=now - timedelta(days=7), language=words.language)
    folder = home() / FOLDER
    folder.mkdir(exist_ok=True)
    paths = []
    for form in (Format.XLSX, Format.HTML):
        with warehouse.read() as connection:
            paths.append(write_report(connection, folder / f"demo.{form}", form, about, words).path)
    return paths


def _open(report: Sequence[Path], opens: bool) -> None:
    """Open the page in a browser; say where it is to be opened by hand when there is no desktop."""
    if not opens:
        return
    page = report[-1]
    if open_in_browser(page.as_uri()):
        notes.print(f"Opened {page} in the browser.", markup=False)
    else:
        notes.print(f"There is no desktop here with a browser that opens it; open {page} yourself.", markup=False)


def _table(leads: Sequence[Mapping[str, Any]], language: str) -> Table:
    from partner_center_pipeline.scoring import load_rules
    from partner_center_pipeline.texts import Texts

    rules, say = load_rules(Settings.load().scoring_rules), Texts(language)
    label = "label" if say.language is Language.EN else "label_tr"

    table = Table(title=say("best_leads.title"), title_justify="left")
    for heading in ("company", "domain", "segment", "category", "score", "reasons", "due"):
        table.add_column(
            say(f"best_leads.{heading}"), justify="right" if heading == "score" else "left", overflow="fold"
        )
    for lead in leads:
        top = sorted(lead["reasons"], key=lambda reason: -abs(reason["points"]))[:REASONS_SHOWN]
        table.add_row(
            Text(lead["company_name"] or ""),  # as text: a name is not markup
            Text(lead["domain_unicode"]),
            say.word("segment", lead["segment"]),
            f"{lead['category']} {lead[label]}" if lead["category"] else "",
            str(lead["score"]) if lead["score"] is not None else "",
            "\n".join(f"{rules.text(reason['code'], say.language)} ({reason['points']:+})" for reason in top),
            say.day(lead["response_due"]) if lead["is_due_live"] else "",
        )
    return table


def _plain(leads: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = ("domain_unicode", "segment", "category", "label", "score", "readiness", "reasons")
    return [{"name": lead["company_name"], **{name: lead[name] for name in names}} for lead in leads]
