"""Writing a report as a workbook (XLSX). Rows are written to disk as they come, so memory does not grow with them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from xlsxwriter import Workbook
from xlsxwriter.format import Format as CellFormat
from xlsxwriter.worksheet import Worksheet

from partner_center_pipeline.leads.decisions import Mark
from partner_center_pipeline.reports.cells import fitting, is_formula
from partner_center_pipeline.reports.columns import Column, Kind, Listing, Value, columns_of
from partner_center_pipeline.reports.filled_in import FILLED_IN, exported
from partner_center_pipeline.reports.guide import guide
from partner_center_pipeline.reports.model import REFERRALS_PAGE, SOON_HOURS, About, Figures, LeadRow, ListName
from partner_center_pipeline.reports.words import Words
from partner_center_pipeline.scoring import Segment
from partner_center_pipeline.vocabulary import Language

ROWS_MOST: Final = 1_048_575
"""Rows of a sheet below its heading: Excel's own limit."""

LINKS_MOST: Final = 2_000
"""Rows of a sheet that have a link. Excel takes 65,530; each is kept in memory until the end, about 1 kB."""

SEGMENT_COLOURS: Final = {
    Segment.MIGRATION: ("#C6EFCE", "#0B5A1E"),
    Segment.EXISTING: ("#D6E4F7", "#1B4A86"),
    Segment.COLD: ("#E3E7EB", "#3A4652"),
    Segment.SKIP: ("#F1ECE4", "#6B5B45"),
    Segment.PENDING: ("#FFF2CC", "#7A5B00"),
}
"""Background and text of a segment's cells."""

_DUE_COLOURS: Final = ((24, "#F8CBAD", "#8A1C00"), (SOON_HOURS, "#FFE699", "#6B4E00"))
"""Hours left up to which a cell has a colour, the nearest first."""

_FIRST_YEAR: Final = 1900
"""Excel knows no date before this year; one is written as text."""

_HEADING_HEIGHT: Final = 32
_TALL_ROW: Final = 48
_LINE: Final = 15.5
"""Heights in points: of a heading; of a row with sentences, which has three lines; of a line of the guide."""
_GUIDE_WIDTH: Final = 120
"""Characters of a line of the guide."""

_DATE_FORMATS: Final = {Language.EN: "yyyy-mm-dd hh:mm", Language.TR: "dd.mm.yyyy hh:mm"}
_DAY_FORMATS: Final = {Language.EN: "yyyy-mm-dd", Language.TR: "dd.mm.yyyy"}
_NUMBER_FORMATS: Final = {Kind.WHOLE: "0", Kind.HOURS: "0.0", Kind.MONEY: "#,##0.00"}


def write_workbook(path: Path, listings: Sequence[Listing], about: About, words: Words, figures: Figures) -> None:
    """Write the lists, each to a sheet, and the reading guide. `figures` counts the rows while they are written."""
    options = {"constant_memory": True, "remove_timezone": True, "strings_to_urls": False}
    with Workbook(str(path), options) as book:
        _describe(book, about, words)
        formats = _Formats(book, words.language)
        written: dict[ListName, int] = {}
        for listing in listings:
            sheet = book.add_worksheet(words.text(f"list.{listing.name}"))
            written[listing.name] = _write_list(sheet, listing, about, words, formats, figures)
        _write_guide(book.add_worksheet(words.text("list.guide")), about, words, formats, written)


def _describe(book: Workbook, about: About, words: Words) -> None:
    book.set_properties({"title": words.text("title.report"), "comments": words.contacts(about)})
    properties: Mapping[str, Any] = {
        "with_contacts": about.with_contacts,
        "made_at_utc": about.made_at.isoformat(timespec="seconds"),
        "since_utc": about.since.isoformat(timespec="seconds"),
        "language": str(about.language),
        "rows": words.chosen(about.choice),
    }
    for name, value in properties.items():
        book.set_custom_property(name, value)


class _Formats:
    """The formats of cells, made once. Where a text could be read as a formula, Excel is told that it is a text."""

    def __init__(self, book: Workbook, language: Language) -> None:
        def add(**properties: Any) -> CellFormat:
            return book.add_format({"font_name": "Calibri", "font_size": 11, "valign": "top", **properties})

        self.heading = add(bold=True, font_color="#FFFFFF", bg_color="#1F4E78", text_wrap=True, valign="vcenter")
        self.title = add(bold=True, font_size=16)
        self.section = add(bold=True, font_color="#1F4E78")
        self.paragraph = add(text_wrap=True)
        self.text = add(text_wrap=True)
        self.quoted = add(quote_prefix=True, text_wrap=True)
        self.link = add(font_color="#0563C1", underline=1)
        self.numbers = {kind: add(num_format=text, align="right", indent=1) for kind, text in _NUMBER_FORMATS.items()}
        self.date = add(num_format=_DATE_FORMATS[language], align="center")
        self.day = add(num_format=_DAY_FORMATS[language], align="center")
        self.filled_in = add(font_color="#FFFFFF", bg_color="#7F6000", bold=True, text_wrap=True, valign="vcenter")
        self.segments = {
            segment: book.add_format({"bg_color": back, "font_color": fore, "bold": True})
            for segment, (back, fore) in SEGMENT_COLOURS.items()
        }
        self.due = [
            (hours, book.add_format({"bg_color": back, "font_color": fore})) for hours, back, fore in _DUE_COLOURS
        ]


def _write_list(
    sheet: Worksheet, listing: Listing, about: About, words: Words, formats: _Formats, figures: Figures
) -> int:
    """Write a list to its sheet and return how many rows it has; those after ROWS_MOST are left out."""
    columns = columns_of(listing.name, about)
    decided = any(column.kind is Kind.DECISION for column in columns)
    for at, column in enumerate(columns):
        sheet.set_column(at, at, column.width)
    sheet.set_row(0, _HEADING_HEIGHT)
    if any(column.kind is Kind.LONG_TEXT for column in columns):
        sheet.set_default_row(_TALL_ROW)  # not each row by itself, which would be kept in memory
    for at, column in enumerate(columns):
        look = formats.filled_in if column.key in FILLED_IN and decided else formats.heading
        sheet.write_string(0, at, words.text(f"heading.{column.key}"), look)
    if decided:
        sheet.write_string(0, len(columns), words.text("heading.exported"), formats.heading)
    rows = count = 0
    for count, row in enumerate(listing.rows, 1):
        figures.count(listing.name, row)
        if count <= ROWS_MOST:
            rows = count
            for at, column in enumerate(columns):
                _write_cell(sheet, rows, at, column, column.value(row, words), formats)
            if decided and isinstance(row, LeadRow):
                sheet.write_string(rows, len(columns), exported(row))
    if decided:
        _take_decisions(sheet, columns, max(rows, 1), words, formats)
    sheet.freeze_panes(1, next(at for at, column in enumerate(columns) if column.key == "company_name") + 1)
    sheet.autofilter(0, 0, max(rows, 1), len(columns) - (not decided))
    _colour(sheet, columns, max(rows, 1), words, formats)
    printed = [at for at, column in enumerate(columns) if column.kind is Kind.LONG_TEXT]
    sheet.print_area(0, 0, max(rows, 1), printed[0] if printed else len(columns) - 1)
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(0)
    sheet.set_footer("&L&A&R&P / &N")
    return count


def _write_cell(sheet: Worksheet, row: int, at: int, column: Column, value: Value, formats: _Formats) -> None:
    if value is None or value == "":
        return
    if isinstance(value, datetime):
        if value.year >= _FIRST_YEAR:
            sheet.write_datetime(row, at, value, formats.day if column.kind is Kind.DAY else formats.date)
            return
        value = value.isoformat(sep=" ", timespec="minutes")
    if isinstance(value, int | float | Decimal):
        sheet.write_number(row, at, value, formats.numbers[column.kind])
        return
    text = fitting(value)
    if column.kind is Kind.LINK and row <= LINKS_MOST and not is_formula(text):
        sheet.write_url(row, at, REFERRALS_PAGE, formats.link, text)
    else:
        sheet.write_string(row, at, text, formats.quoted if is_formula(text) else formats.text)


def _take_decisions(sheet: Worksheet, columns: Sequence[Column], last: int, words: Words, formats: _Formats) -> None:
    """Let decisions be chosen from a list and days be days, and hide what was exported beside the last column.

    The hidden column lets `filled_in` tell what somebody wrote from what has changed in the warehouse since. It is in
    the filter's range, so that it stays with its row when the rows are sorted.
    """
    for at, column in enumerate(columns):
        if column.kind is Kind.DECISION:
            offered = [words.known("decision", mark) for mark in Mark]
            sheet.data_validation(1, at, last, at, {"validate": "list", "source": offered})
        elif column.kind is Kind.DAY:
            sheet.set_column(at, at, column.width, formats.day)
    sheet.set_column(len(columns), len(columns), 20, None, {"hidden": True})


def _colour(sheet: Worksheet, columns: Sequence[Column], last: int, words: Words, formats: _Formats) -> None:
    """Colour the cells of segments by their word, and hours left by how few they are."""
    for at, column in enumerate(columns):
        if column.kind is Kind.SEGMENT:
            for segment, look in formats.segments.items():
                word = words.known("segment", segment)
                rule = {"type": "cell", "criteria": "==", "value": f'"{word}"', "format": look}
                sheet.conditional_format(1, at, last, at, rule)
        elif column.kind is Kind.HOURS:
            for hours, look in formats.due:
                rule = {"type": "cell", "criteria": "between", "minimum": 0, "maximum": hours, "format": look}
                sheet.conditional_format(1, at, last, at, {**rule, "stop_if_true": True})


def _write_guide(
    sheet: Worksheet, about: About, words: Words, formats: _Formats, written: Mapping[ListName, int]
) -> None:
    sheet.set_column(0, 0, 30)
    sheet.set_column(1, 1, _GUIDE_WIDTH)
    sheet.hide_gridlines(2)
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.set_row(0, 2 * _LINE)
    sheet.write_string(0, 0, words.text("title.report"), formats.title)
    sheet.write_url(1, 0, REFERRALS_PAGE, formats.link, words.text("word.open"))
    at = 2
    for section in guide(about, words, written, _limits(words, written)):
        at += 1
        sheet.write_string(at, 0, section.title, formats.section)
        at += 1
        for name, text in section.lines:
            sheet.set_row(at, _LINE * -(-len(text) // (_GUIDE_WIDTH if name else _GUIDE_WIDTH + 30)))
            segment = next((one for one in Segment if name == words.known("segment", one)), None)
            if name:
                sheet.write_string(at, 0, name, formats.text if segment is None else formats.segments[segment])
                sheet.write_string(at, 1, text, formats.paragraph)
            else:
                sheet.merge_range(at, 0, at, 1, text, formats.paragraph)
            at += 1


def _limits(words: Words, written: Mapping[ListName, int]) -> Iterable[str]:
    if max(written.values(), default=0) > ROWS_MOST:
        yield words.text("guide.rows_most", most=words.number(ROWS_MOST))
    yield words.text("guide.links_most", most=words.number(LINKS_MOST))
