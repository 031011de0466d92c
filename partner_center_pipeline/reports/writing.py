"""Writing a report to its place: reads the rows, writes a file beside the target, and renames it when it is whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from partner_center_pipeline.warehouse import reporting

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
    figures = read_figures(connection, about.made_at)
    rows: dict[ListName, int] = {}
    listings = [
        Listing(listing.name, _watched(listing, rows, watch))
        for listing in read_listings(connection, about)
        if only in (None, listing.name)
    ]
    with _replacing(path) as part:
        match form:
            case Format.XLSX:
                write_workbook(part, listings, about, words, figures)
            case Format.CSV:
                write_csv(part, listings, about, words, figures)
            case Format.HTML:
                cards = partial(read_cards, connection, words=words)
                write_page(part, listings, about, words, figures, cards)
    return Report(path, rows, figures)


def refuse_place(path: Path) -> None:
    """Raise ReportError where no file can be at `path`: its folder does not exist, or it is a folder itself."""
    if path.is_dir():
        raise ReportError(f"{path} is a folder; name a file in it, e.g. {path / 'leads.xlsx'}")
    if not path.parent.is_dir():
        raise ReportError(f"the folder {path.parent} does not exist; make it first, or name another place")


def _watched(listing: Listing, rows: dict[ListName, int], watch: Watch | None) -> Iterator[LeadRow | ChangeRow]:
    count = rows[listing.name] = 0
    for count, row in enumerate(listing.rows, 1):
        if watch is not None and count % ROWS_BETWEEN == 0:
            watch(listing.name, count)
        yield row
        rows[listing.name] = count
    if watch is not None:
        watch(listing.name, count)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a path in the same folder to write to, and rename it to `path` when the block ends without an error."""
    refuse_place(path)
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
