"""`partner-center export`: the sales team's lists as a workbook, a CSV file or a page.

Not here: what the file holds and how it is written (`reports`).
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from partner_center_pipeline.cli.base import console, emit, report_errors
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.cli.progress import progress_bar
from partner_center_pipeline.reports.model import About, Choice, Format, ListName
from partner_center_pipeline.scoring import Category, Segment
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.vocabulary import Language

SINCE_DAYS: Final = 7
"""How far back "New and moved" looks unless told otherwise."""
SOURCES: Final = ("marketplace", "solution-provider", "co-sell", "unknown")

_SPAN: Final = re.compile(r"(\d{1,5})\s*([hd])")


class _Span(click.ParamType[timedelta]):
    """A length of time: hours or days."""

    name = "span"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = _SPAN.fullmatch(value.strip().lower())
        if found is None:
            self.fail(f"{value!r} is no length of time; write hours or days, e.g. 72h or 3d", param, ctx)
        return timedelta(**{"hours" if found[2] == "h" else "days": int(found[1])})


class _Since(click.ParamType[datetime]):
    """An instant: a date, a time in UTC, or a length of time before now."""

    name = "since"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        now = datetime.now(UTC)
        if _SPAN.fullmatch(value.strip().lower()):
            return now - _Span().convert(value, param, ctx)
        try:
            at = datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"{value!r} is no time; write 2026-12-01, 2026-12-01T08:00Z or 7d", param, ctx)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        if at > now:
            self.fail(f"{value} is still to come; name a time that has passed, or 7d", param, ctx)
        return at


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice([*map(str, Format)]),
    help="What to write; told by the file's ending if left out.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The file to write; replaced whole.",
)
@click.option(
    "--language",
    type=click.Choice([*map(str, Language)]),
    default="en",
    show_default=True,
    help="Of everything in the file; the command speaks English.",
)
@click.option(
    "--segment", "segments", type=click.Choice([*map(str, Segment)]), multiple=True, help="Only this segment."
)
@click.option(
    "--category", "categories", type=click.Choice([*map(str, Category)]), multiple=True, help="Only this category."
)
@click.option("--source", "sources", type=click.Choice(SOURCES), multiple=True, help="Only referrals of this kind.")
@click.option("--due-within", type=_Span(), metavar="72h", help="Only what has to be answered this soon.")
@click.option("--with-contacts", is_flag=True, help="With names, addresses and telephone numbers of contacts.")
@click.option(
    "--since", type=_Since(), metavar="7d", help='Where "New and moved" begins: 7d (default), 2026-12-01 (UTC).'
)
@json_option("Print what was written as JSON.")
@report_errors
def export(
    form: str | None,
    output: Path,
    language: str,
    segments: Sequence[str],
    categories: Sequence[str],
    sources: Sequence[str],
    due_within: timedelta | None,
    with_contacts: bool,
    since: datetime | None,
    as_json: bool,
) -> None:
    """Write the sales team's lists to a file: what to answer first, companies by rank, other leads, what changed.

    \b
    xlsx  a workbook: a sheet for each list and a reading guide, with filters, colours and links
    html  one page for the browser and the printer: charts, sorting, search, a card for each company; works offline
    csv   one file with all lists, for other programs

    \b
    Examples:
      partner-center export --output monday.xlsx
      partner-center export --output pazartesi.xlsx --language tr --with-contacts
      partner-center export --output leads.html --segment Migration --category P1 --category P2
      partner-center export --format csv --output due.csv --due-within 72h

    An option that may be given more than once chooses what matches any of its values; different options must all match.
    Contacts are personal data: without --with-contacts none is read, and the file says which it is. It only reads the
    warehouse; neither Microsoft nor DNS is asked.
    """
    from partner_center_pipeline.reports.words import Words
    from partner_center_pipeline.reports.writing import refuse_place, write_report
    from partner_center_pipeline.scoring import load_rules
    from partner_center_pipeline.warehouse.database import open_warehouse

    chosen = _format(form, output)
    path = output.expanduser().absolute()
    refuse_place(path)
    settings = Settings.load()
    now = datetime.now(UTC)
    about = About(
        made_at=now,
        since=since or now - timedelta(days=SINCE_DAYS),
        language=Language(language),
        with_contacts=with_contacts,
        choice=Choice(frozenset(segments), frozenset(categories), frozenset(sources), due_within),
    )
    words = Words(load_rules(settings.scoring_rules), about.language)
    lists = list(ListName)
    with (
        open_warehouse(settings) as warehouse,
        warehouse.read() as connection,
        progress_bar("reading", len(lists)) as report,
    ):

        def watch(name: ListName, rows: int) -> None:
            report(lists.index(name), f"{name.replace('_', ' ')}: {rows:,} rows")

        written = write_report(connection, path, chosen, about, words, watch=watch)
        report(len(lists), "written")
    if as_json:
        emit(
            {
                "file": str(path),
                "format": chosen,
                "bytes": path.stat().st_size,
                "language": about.language,
                "with_contacts": with_contacts,
                "made_at": about.made_at.isoformat(timespec="seconds"),
                "since": about.since.isoformat(timespec="seconds"),
                "rows": written.rows,
            }
        )
        return
    english = Words(words.rules, Language.EN)  # commands speak English; the language is the file's
    for name, rows in written.rows.items():
        console.print(f"  {english.text(f'list.{name}'):<24}{rows:>9,} rows", markup=False)
    console.print(f"Wrote {path} ({path.stat().st_size / 1024:,.0f} kB).", markup=False)
    if with_contacts:
        console.print("It holds contacts (personal data): pass it on only to those who may see them.")


def _format(form: str | None, output: Path) -> Format:
    """Return the chosen format, or that of the file's ending."""
    if form is not None:
        return Format(form)
    ending = output.suffix.lower().removeprefix(".")
    if ending not in set(Format):
        raise click.UsageError(
            f"{output.name} does not say what to write; end it with .xlsx, .csv or .html, or give --format"
        )
    return Format(ending)
