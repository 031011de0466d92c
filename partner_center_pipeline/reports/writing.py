"""Writing a report to its place: reads the rows, writes a file beside the target, and renames it when it is whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import Connection

from partner_center_pipeline.reports.columns import Listing
from partner_center_pipeline.reports.csv_file import write_csv
from partner_center_pipeline.reports.model import About, ChangeRow, Figures, Format, LeadRow, ListName, ReportError
from partner_center_pipeline.reports.page import write_page
from partner_center_pipeline.reports.reading import read_cards, read_figures, read_listings
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.reports.xlsx import write_workbook
from partner_center_pipeline.vocabulary import Language
from partner_center_pipeline.warehouse import reporting
from partner_center_pipeline.warehouse.database import Warehouse

FOLDER: Final = "reports"
"""The folder below the home folder that the daily report is written to."""

ROWS_BETWEEN: Final = 500
"""Rows between two signs of progress."""

Watch = Callable[[ListName, int], None]
"""Is told which list is written and how many rows of it are done."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was written: its file, how many rows each list has, and what was counted."""

    path: Path
    rows: dict[ListName, int]
    figures: Figures


def write_report(
    connection: Connection,
    path: Path,
    form: Format,
    about: About,
    words: Words,
    *,
    only: ListName | None = None,
    watch: Watch | None = None,
) -> Report:
    """Write a report to `path`, whose folder exists. `connection` must not have run a query before.

    only    write this list alone (CSV)

    A file that is there is replaced when the new one is whole, and stays as it was where writing fails. Raises
    ReportError when there is nothing to report, or the file cannot be written.
    """
    reporting.begin_snapshot(connection)
    if not reporting.has_leads(connection):
        raise ReportError(
            "the warehouse holds no lead yet, so there is nothing to report; run `partner-center sync` first "
            "(or `partner-center demo`, which needs no Microsoft account)"
        )
    figures = Figures() if form is Format.CSV else read_figures(connection, about.made_at)
    rows: dict[ListName, int] = {}
    listings = [
        Listing(listing.name, _watched(listing, rows, watch))
        for listing in read_listings(connection, about)
        if only in (None, listing.name)
    ]
    with replacing(path) as part:
        match form:
            case Format.XLSX:
                write_workbook(part, listings, about, words, figures)
            case Format.CSV:
                write_csv(part, listings, about, words, figures)
            case Format.HTML:
                cards = partial(read_cards, connection, words=words)
                write_page(part, listings, about, words, figures, cards)
    return Report(path, rows, figures)


def write_folder(db: Warehouse, folder: Path, about: About, words: Words) -> dict[str, Report]:
    """Write the report of a day to a folder: a workbook and a page named after the day, and the folder `csv`.

    `csv` holds one file per list with all rows, in English whatever the report's language is: always at the same place
    with the same columns, so that Power BI and Excel can read it. Returns the reports by the file's place in `folder`.
    """
    tables = folder / "csv"
    tables.mkdir(parents=True, exist_ok=True)
    day = about.made_at.date().isoformat()
    english = Words(words.rules, Language.EN)
    kinds = [
        *((f"{day}.{form}", form, about, words, None) for form in (Format.XLSX, Format.HTML)),
        *((f"csv/{name}.csv", Format.CSV, replace(about, language=Language.EN), english, name) for name in ListName),
    ]
    written = {}
    for place, form, said, language, only in kinds:
        with db.read() as connection:
            written[place] = write_report(connection, folder / place, form, said, language, only=only)
    return written


def refuse_place(path: Path, example: str = "leads.xlsx") -> None:
    """Raise ReportError where no file can be at `path`: its folder does not exist, or it is a folder itself."""
    if path.is_dir():
        raise ReportError(f"{path} is a folder; name a file in it, e.g. {path / example}")
    if not path.parent.is_dir():
        raise ReportError(f"the folder {path.parent} does not exist; make it first, or name another place")


@contextmanager
def replacing(path: Path, example: str = "leads.xlsx") -> Iterator[Path]:
    """Give a path in the same folder to write to, and rename it to `path` when the block ends without an error."""
    refuse_place(path, example)
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise ReportError(
            f"{path} cannot be written: {error.strerror or error}; close it where it is open, or name another place"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _watched(listing: Listing, rows: dict[ListName, int], watch: Watch | None) -> Iterator[LeadRow | ChangeRow]:
    count = rows[listing.name] = 0
    for count, row in enumerate(listing.rows, 1):
        if watch is not None and count % ROWS_BETWEEN == 0:
            watch(listing.name, count)
        yield row
        rows[listing.name] = count
    if watch is not None:
        watch(listing.name, count)
