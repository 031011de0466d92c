"""The workbook and the CSV file, opened again by other programs' readers."""

import csv
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from openpyxl import load_workbook
from openpyxl.utils.escape import unescape
from openpyxl.workbook import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from partner_center_pipeline.reports import xlsx
from partner_center_pipeline.reports.cells import clean, fitting, is_formula
from partner_center_pipeline.reports.model import REFERRALS_PAGE, Figures
from partner_center_pipeline.reports.xlsx import LINKS_MOST
from partner_center_pipeline_tests.reports.made_up import (
    HOSTILE,
    NOW,
    WORKBOOK_AND_CSV,
    about,
    change,
    hostile_changes,
    hostile_leads,
    lead,
    listings,
    words,
)


def written(path: Path, language: str = "en", leads: Any = None, changes: Any = None, **said: Any) -> Path:
    """Write a report of the kind that the file's ending says."""
    lists = listings([lead()] if leads is None else leads, changes)
    WORKBOOK_AND_CSV[path.suffix[1:]](path, lists, about(language, **said), words(language), Figures())
    return path


def opened(tmp_path: Path, language: str = "en", leads: Any = None, changes: Any = None, **said: Any) -> Workbook:
    """The workbook as openpyxl reads it."""
    return load_workbook(written(tmp_path / "a.xlsx", language, leads, changes, **said))


def sheet_rows(sheet: Worksheet) -> list[dict[str, Any]]:
    """The rows of a sheet, by heading."""
    head, *rows = [list(row) for row in sheet.iter_rows(values_only=True)]
    return [dict(zip(map(str, head), row, strict=True)) for row in rows]


def csv_rows(path: Path, separator: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=separator))


@pytest.mark.parametrize(
    ("language", "names"),
    [
        ("en", ["Due first", "Leads", "Without a company", "New and moved", "Reading guide"]),
        (
            "tr",
            ["Önce bunlar", "Potansiyel müşteriler", "Şirketi bilinmeyenler", "Yeni ve değişenler", "Okuma kılavuzu"],
        ),
    ],
)
def test_the_workbook_has_its_five_sheets_due_first_opens(language: str, names: list[str], tmp_path: Path) -> None:
    book = opened(tmp_path, language)
    assert book.sheetnames == names
    assert book.active is not None
    assert book.active.title == names[0]


def test_the_workbook_holds_real_dates_and_numbers(tmp_path: Path) -> None:
    book = opened(tmp_path, "tr")
    (row,) = sheet_rows(book["Potansiyel müşteriler"])
    assert row["Son yanıt tarihi (UTC)"] == datetime(2026, 12, 8, 21, 0)  # noqa: DTZ001  Excel has no time zones
    assert row["Puan"] == 75
    assert row["Fırsat tutarı"] == 1234567.5
    assert row["Neden"] == "Geçişe hazır. SPF kaydı yok (-10)"
    assert row["Segment"] == "Geçiş"
    (due,) = sheet_rows(book["Önce bunlar"])
    assert due["Kalan saat"] == 48.5
    formats = {cell.number_format for cell in book["Potansiyel müşteriler"][2]}
    assert {"dd.mm.yyyy hh:mm", "#,##0.00"} <= formats


def test_each_list_has_a_frozen_heading_filters_and_colours_by_segment(tmp_path: Path) -> None:
    book = opened(tmp_path)
    for sheet in book.worksheets[:4]:
        assert sheet.freeze_panes is not None
        assert sheet.freeze_panes.endswith("2")
        assert sheet.auto_filter.ref == sheet.dimensions
        rules = [rule for each in sheet.conditional_formatting for rule in each.rules]
        words_of_rules = {rule.formula[0] for rule in rules if rule.operator == "equal"}
        assert words_of_rules == {'"Existing"', '"Migration"', '"Cold"', '"Skip"', '"Pending"'}
        assert all(sheet.column_dimensions[letter].width > 6 for letter in "ABC")


@pytest.mark.slow
def test_a_referral_links_to_partner_center_and_many_rows_stay_within_excels_limit(tmp_path: Path) -> None:
    book = opened(tmp_path, leads=[lead(number) for number in range(1, LINKS_MOST + 3)])
    sheet = book["Leads"]
    at = next(cell.column for cell in sheet[1] if cell.value == "Referral in Partner Center")
    first, last = sheet.cell(2, at), sheet.cell(LINKS_MOST + 3, at)
    assert first.hyperlink is not None
    assert first.hyperlink.target == REFERRALS_PAGE
    assert first.value == "00000000-0000-0000-0000-000000000001"
    assert last.hyperlink is None
    assert str(last.value).endswith(f"{LINKS_MOST + 2}")


@pytest.mark.parametrize("with_contacts", [False, True])
def test_contacts_are_in_a_workbook_only_when_asked_and_it_says_so(with_contacts: bool, tmp_path: Path) -> None:
    path = written(tmp_path / "a.xlsx", with_contacts=with_contacts)
    book = load_workbook(path)
    text = "\n".join(
        str(cell) for sheet in book.worksheets for row in sheet.iter_rows(values_only=True) for cell in row
    )
    assert ("Ayşe Yılmaz" in text) is with_contacts
    assert ("ayse@öztürk.com.tr" in text) is with_contacts
    assert ("+90 532" in text) is with_contacts
    properties = book.custom_doc_props.props  # type: ignore[attr-defined]  # the stubs lack it
    assert {one.name: one.value for one in properties}["with_contacts"] is with_contacts
    assert ("HOLDS contacts" in text, "are NOT in this file" in text) == (with_contacts, not with_contacts)
    with zipfile.ZipFile(path) as archive:
        raw = b"".join(archive.read(name) for name in archive.namelist()).decode("utf-8", "replace")
    assert ("Ayşe" in raw) is with_contacts


@pytest.mark.parametrize("with_contacts", [False, True])
def test_contacts_are_in_a_csv_file_only_when_asked_and_it_says_so(with_contacts: bool, tmp_path: Path) -> None:
    rows = csv_rows(written(tmp_path / "a.csv", with_contacts=with_contacts))
    assert {row["Contacts included"] for row in rows} == {"yes" if with_contacts else "no"}
    assert ("E-mail" in rows[0]) is with_contacts
    assert ("ayse@" in (tmp_path / "a.csv").read_text(encoding="utf-8")) is with_contacts


def test_a_csv_file_has_every_list_and_opens_in_the_excel_of_its_language(tmp_path: Path) -> None:
    english, turkish = written(tmp_path / "en.csv"), written(tmp_path / "tr.csv", "tr")
    assert english.read_bytes().startswith(b"\xef\xbb\xbf")
    rows = csv_rows(english)
    assert [row["List"] for row in rows] == ["Due first", "Leads", "Without a company", "New and moved"]
    assert (rows[1]["Deal value"], rows[1]["Answer by (UTC)"]) == ("1234567.50", "2026-12-08 21:00")
    assert rows[1]["Report made (UTC)"] == words().instant(NOW)
    row = csv_rows(turkish, ";")[1]
    assert (row["Fırsat tutarı"], row["Son yanıt tarihi (UTC)"]) == ("1234567,50", "08.12.2026 21:00")
    assert row["Segment"] == "Geçiş"


def test_a_hostile_workbook_opens_clean_with_every_text_as_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xlsx", leads=hostile_leads(), changes=hostile_changes(), with_contacts=True)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            if name.endswith((".xml", ".rels")):
                root = ElementTree.fromstring(archive.read(name))  # noqa: S314  our own file
                assert not root.findall(".//{*}sheetData//{*}f")
    book = load_workbook(path)
    for sheet in book.worksheets[:4]:
        at = next(cell.column for cell in sheet[1] if cell.value == "Company")
        cells = [sheet.cell(row, at) for row in range(2, len(HOSTILE) + 2)]
        assert [unescape(str(cell.value)) for cell in cells] == [fitting(text) for text in HOSTILE.values()]
        for row in sheet.iter_rows():
            for cell in row:
                assert cell.data_type != "f"
                if isinstance(cell.value, str) and is_formula(cell.value):
                    assert cell.quotePrefix
                if cell.hyperlink is not None:
                    assert cell.hyperlink.target == REFERRALS_PAGE


def test_a_hostile_csv_file_keeps_its_rows_and_starts_no_formula(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", leads=hostile_leads(), changes=hostile_changes(), with_contacts=True)
    rows = csv_rows(path)
    assert len(rows) == 4 * len(HOSTILE)
    signed = {"Deal value", "Value, converted", "Hours left"}
    for row in rows:
        assert None not in row
        for heading, cell in row.items():
            assert heading in signed or not is_formula(cell), heading
    assert [row["Company"].removeprefix("'") for row in rows[: len(HOSTILE)]] == [*map(clean, HOSTILE.values())]


def test_a_list_that_is_too_long_for_a_sheet_says_so_in_the_guide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx, "ROWS_MOST", 3)
    book = opened(tmp_path, leads=[lead(number) for number in range(1, 6)])
    assert book["Leads"].max_row == 4
    guide = [cell for row in book["Reading guide"].iter_rows(values_only=True) for cell in row]
    assert "A sheet takes 3 rows: rows after that are missing here. A CSV file has all of them." in guide
    assert any("(5 rows)" in str(cell) for cell in guide)


def test_empty_lists_make_a_workbook_that_opens(tmp_path: Path) -> None:
    book = opened(tmp_path, leads=[], changes=[])
    assert [sheet.max_row for sheet in book.worksheets[:4]] == [1, 1, 1, 1]


def test_what_a_person_set_aside_is_not_counted_as_to_answer(tmp_path: Path) -> None:
    figures = Figures()
    lists = listings([lead(1), lead(2, decision="not-interested", is_set_aside=True)], [])
    WORKBOOK_AND_CSV["xlsx"](tmp_path / "a.xlsx", lists, about(), words(), figures)
    assert (figures.due, figures.due_within_72h, figures.companies) == (1, 1, 2)


def test_the_figures_count_what_was_written(tmp_path: Path) -> None:
    figures = Figures()
    rows = [lead(1), lead(2, segment="Cold", category=None, hours_left=90.0, open_referrals=0)]
    lists = listings(rows, [change(), change()])
    WORKBOOK_AND_CSV["xlsx"](tmp_path / "a.xlsx", lists, about(), words(), figures)
    assert (figures.companies, figures.open_companies, figures.without_company) == (2, 1, 2)
    assert (figures.due, figures.due_within_72h) == (2, 1)
    assert figures.segments == {"Migration": 1, "Cold": 1}
    assert figures.categories == {"P1": 1, "": 1}
    assert figures.changes == {"moved_up": 2}
